"""Keras on TensorFlow, the float reference. Input: float32 NHWC. `predict_on_batch` beat a traced call and XLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

PACKAGE = "keras"


class KerasNetwork:
    def __init__(self, model: Any) -> None:
        self._model = model

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        self._frame = frame[None].astype(np.float32)

    def invoke(self) -> None:
        self._map = self._model.predict_on_batch(self._frame)

    def take(self) -> npt.NDArray[Any]:
        return np.array(self._map[0, :, :, 0])


def load(model: Path, threads: int, precision: str) -> KerasNetwork:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return KerasNetwork(keras.models.load_model(model, compile=False))
