"""FireSeg -> a trained Keras U-Net. May look into `edge`, never into `export` or `benchmarks`."""
