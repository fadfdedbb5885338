"""The host: temperature, throttling, and the frame rate under heat."""
