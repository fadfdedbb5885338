"""Latency and drift of the shipped models, over time. May import every room; no room imports it."""
