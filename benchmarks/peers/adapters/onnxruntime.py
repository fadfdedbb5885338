"""ONNX Runtime, CPU provider, all graph optimizations. Input: NCHW, bytes for the project's int8, else float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-not-found, unused-ignore]

from benchmarks.peers.worker import Network, to_nchw

PACKAGE = "onnxruntime"
DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


def load(model: Path, threads: int, precision: str) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin between runs would take cores from the next peer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    # Input and output are bound once, so that runs allocate nothing.
    ends = session.get_inputs()[0], session.get_outputs()[0]
    frame, output = (np.zeros(end.shape, DTYPES[end.type]) for end in ends)
    binding = session.io_binding()
    binding.bind_input(ends[0].name, "cpu", 0, frame.dtype, frame.shape, frame.ctypes.data)
    binding.bind_output(ends[1].name, "cpu", 0, output.dtype, output.shape, output.ctypes.data)
    return Network(
        put=lambda rgb: np.copyto(frame, to_nchw(rgb), casting="unsafe"),
        invoke=lambda: session.run_with_iobinding(binding),
        take=lambda _: output[0, 0].copy(),
    )
