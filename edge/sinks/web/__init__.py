"""The live page: what the camera sees, how it burns, how the machine fares; for browsers, scripts and Prometheus.

Nothing here is imported before a run asks for the page, but for `access`, which also checks what a configuration says.
"""
