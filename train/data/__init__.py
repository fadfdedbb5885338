"""Load, check, split, augment and batch data sets. Imports no model."""
