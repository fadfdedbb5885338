"""OpenVINO, CPU, one stream, latency hint. Input as in the file: float32 NCHW, or NHWC bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino  # type: ignore[import-not-found, unused-ignore]

from benchmarks.peers.worker import to_nchw

PACKAGE = "openvino"


class OpenvinoNetwork:
    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._input = self._request.get_input_tensor().data
        self._is_nchw = self._input.shape[1] == 3
        self.invoke = self._request.infer

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        self._input[...] = to_nchw(frame) if self._is_nchw else frame[None]

    def take(self) -> npt.NDArray[Any]:
        return np.array(np.squeeze(self._request.get_output_tensor().data))


def load(model: Path, threads: int, precision: str) -> OpenvinoNetwork:
    core = openvino.Core()
    # By default it computes float32 in bfloat16 if the processor can: that is a separate row.
    hint = "bf16" if precision == "bfloat16" else "f32"
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("the processor has no bfloat16 arithmetic")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
    }
    return OpenvinoNetwork(core.compile_model(str(model), "CPU", settings))
