"""The TFLite model: runtime, card, preprocessing, segmentation, latency. Imports no sinks and no commands."""
