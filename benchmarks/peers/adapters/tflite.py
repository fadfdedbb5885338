"""LiteRT (with XNNPACK) and its predecessor tflite-runtime. Input and output: bytes for int8, else float32."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HAS_LITERT = importlib.util.find_spec("ai_edge_litert") is not None
PACKAGE = "ai-edge-litert" if _HAS_LITERT else "tflite-runtime"


class TfliteNetwork:
    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._input = interpreter.tensor(interpreter.get_input_details()[0]["index"])
        self._output = interpreter.tensor(interpreter.get_output_details()[0]["index"])
        self.invoke = interpreter.invoke

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        np.copyto(self._input()[0], frame, casting="unsafe")

    def take(self) -> npt.NDArray[Any]:
        return np.array(self._output()[0, :, :, 0])


def load(model: Path, threads: int, precision: str) -> TfliteNetwork:
    module = importlib.import_module("ai_edge_litert.interpreter" if _HAS_LITERT else "tflite_runtime.interpreter")
    return TfliteNetwork(module.Interpreter(model_path=str(model), num_threads=threads))
