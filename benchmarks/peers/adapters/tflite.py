"""LiteRT (with XNNPACK) and its predecessor tflite-runtime. Input and output: bytes for int8, else float32."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np

from benchmarks.peers.worker import Network

_HAS_LITERT = importlib.util.find_spec("ai_edge_litert") is not None
PACKAGE = "ai-edge-litert" if _HAS_LITERT else "tflite-runtime"


def load(model: Path, threads: int, precision: str) -> Network:
    module = importlib.import_module("ai_edge_litert.interpreter" if _HAS_LITERT else "tflite_runtime.interpreter")
    interpreter = module.Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    frame = interpreter.tensor(interpreter.get_input_details()[0]["index"])
    output = interpreter.tensor(interpreter.get_output_details()[0]["index"])
    return Network(
        put=lambda rgb: np.copyto(frame()[0], rgb, casting="unsafe"),
        invoke=interpreter.invoke,
        take=lambda _: np.array(output()[0, :, :, 0]),
    )
