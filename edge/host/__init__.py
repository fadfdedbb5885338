"""The machine that the camera runs on: temperature, throttling, frame rate under heat."""
