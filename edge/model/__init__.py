"""The TFLite model: runtime, card, preprocessing, segmentation, latency. Knows no sinks and no commands."""
