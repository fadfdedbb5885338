"""Metrics, evaluation on test sets, error analysis and plots."""
