"""Keras on TensorFlow, the float reference. Input: float32 NHWC. `predict_on_batch` beat a traced call and XLA."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers.worker import Network

PACKAGE = "keras"


def load(model: Path, threads: int, precision: str) -> Network:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    net = keras.models.load_model(model, compile=False)
    frame = np.zeros(net.input_shape[1:], np.float32)[None]
    return Network(
        put=lambda rgb: np.copyto(frame[0], rgb),
        invoke=lambda: net.predict_on_batch(frame),
        take=lambda result: np.array(result[0, :, :, 0]),
    )
