"""OpenVINO, CPU, one stream, latency hint. Input as in the file: float32 NCHW, or NHWC bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino  # type: ignore[import-not-found, unused-ignore]

from benchmarks.peers.worker import Network, to_nchw

PACKAGE = "openvino"


def load(model: Path, threads: int, precision: str) -> Network:
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
    request = core.compile_model(str(model), "CPU", settings).create_infer_request()
    frame = request.get_input_tensor().data
    is_nchw = frame.shape[1] == 3
    return Network(
        put=lambda rgb: np.copyto(frame, to_nchw(rgb) if is_nchw else rgb[None]),
        invoke=request.infer,
        take=lambda _: np.array(np.squeeze(request.get_output_tensor().data)),
    )
