"""Latency and drift over time. May look into every room; nothing looks in here."""
