"""Downloads FireSeg and verifies its checksums."""
