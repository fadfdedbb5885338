"""Data sets: loading, checking, splitting, augmenting and batching. Knows no model."""
