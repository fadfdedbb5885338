"""Which layers int8 loses its precision in: each layer's signal against its noise, by itself and with all before it.

By itself: the layer is given the float model's own input, rounded to int8, so that what is lost is lost in its own
weights, its input's rounding and its output's. With all before it: as it runs in the model, where the noise of every
layer above arrives too. Both are compared with the float layer's output, in decibels: 20 dB is an error of a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Convolution, Graph
from export.int8.refine import layer_name
from export.int8.runner import Stepwise

LOUDEST_DB = 120.0
"""What no noise at all is shown as."""


@dataclass(frozen=True)
class LayerNoise:
    """Signal-to-noise of one layer's int8 output against the float's."""

    layer: str
    kind: str
    own_db: float
    """With the float's input: what the layer itself loses."""
    running_db: float
    """With the input that it gets in the int8 model."""


def layer_noise(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    threads: int,
    on_operator: Callable[[], None] = lambda: None,
) -> list[LayerNoise]:
    """The layers in order of execution. `frames` are N x height x width x 3 RGB bytes.

    Raises `UserError` where the two are not the same network.
    """
    graph, float_graph = Graph(int8), Graph(float32)
    layers = {conv.op_index: conv for conv in graph.convolutions}
    float_layers = float_graph.convolutions
    if [layer_name(graph, one) for one in layers.values()] != [layer_name(float_graph, one) for one in float_layers]:
        raise UserError(
            "the two models do not have the same layers in the same order", "compare exports of one network"
        )
    float_of = dict(zip(layers, float_layers, strict=True))
    run = Stepwise(graph, frames, runtime, threads)
    float_run = Stepwise(float_graph, frames.astype(np.float32), runtime, threads)
    found = []
    for op_index in range(len(graph.subgraph.operators)):
        run.run(op_index)
        if conv := layers.get(op_index):
            float_conv = float_of[op_index]
            float_run.advance(float_conv.op_index)
            float_run.run(float_conv.op_index)
            wanted = float_run.values[float_conv.output]
            running_db = decibels(wanted, run.real(conv.output, run.values[conv.output]))
            own_db = decibels(wanted, _alone(conv, run, float_run.values[float_conv.data]))
            found.append(LayerNoise(layer_name(graph, conv), conv.kind, own_db, running_db))
            float_run.forget(float_conv.op_index)
        run.forget(op_index)
        on_operator()
    return found


def decibels(wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """Signal to noise: 10 log10 of the ratio of the squares of `wanted` and of the difference, at most LOUDEST_DB."""
    noise = float(np.square(wanted.astype(np.float64) - got).sum())
    signal = float(np.square(wanted.astype(np.float64)).sum())
    if noise <= signal * 10 ** (-LOUDEST_DB / 10):
        return LOUDEST_DB
    return float(10 * np.log10(signal / noise)) if signal else -LOUDEST_DB


def _alone(conv: Convolution, run: Stepwise, real_input: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The layer's output, as a real number, when it is given these real inputs rounded to int8."""
    graph, kept = run.graph, (run.values[conv.data], run.values[conv.output])
    limits = np.iinfo(kept[0].dtype)
    stored = np.rint(real_input / graph.scales(conv.data)[0]) + graph.zero_point(conv.data)
    run.values[conv.data] = np.clip(stored, limits.min, limits.max).astype(kept[0].dtype)
    try:
        run.run(conv.op_index)
        return run.real(conv.output, run.values[conv.output])
    finally:
        run.values[conv.data], run.values[conv.output] = kept
