"""OpenCV's DNN module, from ONNX. Input: float32 NCHW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.peers.worker import to_nchw

PACKAGE = "opencv-python-headless"


class OpencvNetwork:
    def __init__(self, net: Any) -> None:
        self._net = net

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        self._net.setInput(to_nchw(frame))

    def invoke(self) -> None:
        self._map = self._net.forward()

    def take(self) -> npt.NDArray[Any]:
        return np.array(np.squeeze(self._map))


def load(model: Path, threads: int, precision: str) -> OpencvNetwork:
    cv2.setNumThreads(threads)
    return OpencvNetwork(cv2.dnn.readNetFromONNX(str(model)))
