"""The live page: camera frames, fire areas, alarms and host status for browsers, scripts and Prometheus."""
