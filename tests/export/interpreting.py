"""Run whole TFLite models, beside the operator-by-operator runner under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.runtime import Runtime

SHIPPED = Path(__file__).parents[2] / "models"


def invoke(runtime: Runtime, model: bytes, *inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the first output for these inputs, each with its batch axis."""
    interpreter = runtime.interpreter(model, 1)
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    interpreter.invoke()
    output: npt.NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return output


def probabilities(runtime: Runtime, model: bytes, frames: Frame) -> npt.NDArray[np.float64]:
    """Return the probability map of every frame, N x height x width."""
    maps = np.concatenate([invoke(runtime, model, frame[None])[..., 0] for frame in frames])
    return maps.astype(np.float64) / (256 if maps.dtype == np.uint8 else 1)


def mean_error(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.abs(a - b).mean())
