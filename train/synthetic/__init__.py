"""Generate a synthetic set in FireSeg's layout, for tests and first runs."""
