"""OpenCV's DNN module, from ONNX. Input: float32 NCHW."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks.peers.worker import Network, to_nchw

PACKAGE = "opencv-python-headless"


def load(model: Path, threads: int, precision: str) -> Network:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(model))
    return Network(
        put=lambda rgb: net.setInput(to_nchw(rgb)),
        invoke=lambda: net.forward(),
        take=lambda output: np.array(np.squeeze(output)),
    )
