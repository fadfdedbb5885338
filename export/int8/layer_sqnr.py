"""Signal-to-quantization-noise ratio (SQNR) of each layer: which layers int8 loses its precision in.

In isolation: the layer gets the float model's input, rounded to int8, so the noise is that of its own weights and of
rounding its input and output. In the model: the noise of every layer above arrives too. Both compare with the float
layer's output, in decibels; 20 dB is an error of a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Convolution, Graph, layer_name
from export.int8.runner import OperatorRunner, run_layers

MAX_SQNR_DB = 120.0
"""Reported for no noise at all."""


@dataclass(frozen=True)
class LayerSqnr:
    """SQNR of one layer's int8 output against the float's."""

    layer: str
    operator: str
    isolated_sqnr_db: float
    """With the float's input."""
    in_model_sqnr_db: float
    """With its input in the int8 model."""


def measure_layers(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    threads: int,
    on_operator: Callable[[], None] = lambda: None,
) -> list[LayerSqnr]:
    """Return the SQNR of each layer, in order of execution, on `frames` (N x height x width x 3 RGB bytes).

    Raises `UserError` if the two are not the same network.
    """
    graph, measured = Graph(int8), []
    for layer in run_layers(graph, Graph(float32), frames, runtime, threads=threads, on_operator=on_operator):
        conv, run = layer.conv, layer.run
        signal = layer.float_run.values[layer.float_conv.output]
        in_model = sqnr_db(signal, run.dequantize(conv.output, run.values[conv.output]))
        isolated = sqnr_db(signal, _run_isolated(conv, run, layer.float_run.values[layer.float_conv.data]))
        measured.append(LayerSqnr(layer_name(graph, conv), conv.operator, isolated, in_model))
    return measured


def sqnr_db(signal: npt.NDArray[Any], quantized: npt.NDArray[Any]) -> float:
    """Return 10 log10(sum of signal² / sum of (signal - quantized)²), within ±`MAX_SQNR_DB`."""
    noise_power = float(np.square(signal.astype(np.float64) - quantized).sum())
    signal_power = float(np.square(signal.astype(np.float64)).sum())
    if noise_power <= signal_power * 10 ** (-MAX_SQNR_DB / 10):
        return MAX_SQNR_DB
    return float(10 * np.log10(signal_power / noise_power)) if signal_power else -MAX_SQNR_DB


def _run_isolated(conv: Convolution, run: OperatorRunner, float_input: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the layer's dequantized output for the float's input, rounded to int8."""
    graph, saved = run.graph, (run.values[conv.data], run.values[conv.output])
    limits = np.iinfo(saved[0].dtype)
    stored = np.rint(float_input / graph.scales(conv.data)[0]) + graph.zero_point(conv.data)
    run.values[conv.data] = np.clip(stored, limits.min, limits.max).astype(saved[0].dtype)
    run.run(conv.op_index)
    output = run.dequantize(conv.output, run.values[conv.output])
    run.values[conv.data], run.values[conv.output] = saved
    return output
