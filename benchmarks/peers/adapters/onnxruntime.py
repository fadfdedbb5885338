"""ONNX Runtime, CPU provider, all graph optimisations. Input: NCHW, bytes for the project's int8, else float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-not-found, unused-ignore]

from benchmarks.peers.worker import to_nchw

PACKAGE = "onnxruntime"
DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class OrtNetwork:
    """Input and output are bound once, so that runs allocate nothing."""

    def __init__(self, session: Any) -> None:
        frame, probability = session.get_inputs()[0], session.get_outputs()[0]
        self._frame = np.zeros(frame.shape, DTYPES[frame.type])
        self._map = np.zeros(probability.shape, DTYPES[probability.type])
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, frame.name, self._frame),
            (self._binding.bind_output, probability.name, self._map),
        ):
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._session = session

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        self._frame[...] = to_nchw(frame)

    def invoke(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def take(self) -> npt.NDArray[Any]:
        return self._map[0, 0].copy()


def load(model: Path, threads: int, precision: str) -> OrtNetwork:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin between runs would take cores from the next peer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return OrtNetwork(onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))
