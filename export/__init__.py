"""Keras -> TFLite, and what the shrinking cost. May look into `train` and `edge`, never into `benchmarks`."""
