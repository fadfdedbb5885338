"""Train a Keras U-Net on FireSeg. Imports `edge`; never `export` or `benchmarks`."""
