"""Convert Keras models to TFLite and measure what that costs. Imports `train` and `edge`, never `benchmarks`."""

from pathlib import Path

SHIPPED_MODEL = Path("models/fireseg-base.keras")
CALIBRATION_COUNT = 200  # images, 100 to 500 in practice
