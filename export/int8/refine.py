"""Brings an int8 model back to its float, layer by layer in order of execution: the range of its output first, then
its weights, then its bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.bias_correction import correct_layer, shift_steps
from export.int8.gptq import round_layer
from export.int8.graph import Convolution, Graph
from export.int8.range_search import fit_range
from export.int8.runner import Stepwise

DEFAULT_FRAMES = 200


@dataclass(frozen=True)
class Steps:
    """What is done to each layer; any may be left out, to compare."""

    ranges: bool = True
    weights: bool = True
    biases: bool = True

    @property
    def any(self) -> bool:
        return self.ranges or self.weights or self.biases


ALL_STEPS = Steps()


@dataclass(frozen=True)
class LayerEffect:
    """How far a layer's channel means lay from the float's, in steps of its int8 output (RMS over channels): as the
    converter rounded it, and as it is now; both behind the layers above as they are now."""

    layer: str
    kind: str
    before_steps: float
    after_steps: float


def refine(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    steps: Steps = ALL_STEPS,
    threads: int,
    on_operator: Callable[[], None] = lambda: None,
) -> tuple[bytes, list[LayerEffect]]:
    """Return the int8 flatbuffer with its ranges, weights and biases refined, and the effect on each layer.

    Args:
        int8: a full-integer flatbuffer.
        float32: the same network in float; layers are matched by the names of their output tensors.
        frames: N x height x width x 3 RGB bytes to measure on.
        steps: what to do.
        on_operator: called after each operator of the int8 model.

    Raises `UserError` where the two are not the same network.
    """
    graph, float_graph = Graph(int8), Graph(float32)
    names = [layer_name(graph, conv) for conv in graph.convolutions]
    if names != [layer_name(float_graph, conv) for conv in float_graph.convolutions]:
        raise UserError(
            "the float and the int8 model do not have the same layers in the same order, so int8 cannot be refined",
            "pass --no-weight-rounding --no-bias-correction",
        )
    float_of = dict(zip((conv.op_index for conv in graph.convolutions), float_graph.convolutions, strict=True))
    layers = {conv.op_index: conv for conv in graph.convolutions}
    run = Stepwise(graph, frames, runtime, threads)
    float_run = Stepwise(float_graph, frames.astype(np.float32), runtime, threads)
    effects: list[LayerEffect] = []
    float_ops = {op_index: conv.op_index for op_index, conv in float_of.items()}
    if steps.ranges:
        sums, float_sums = graph.operators("ADD"), float_graph.operators("ADD")
        if len(sums) != len(float_sums):
            raise UserError(
                f"the int8 model has {len(sums)} sums and the float {len(float_sums)}, so ranges cannot be fitted",
                "leave out --range-fitting",
            )
        float_ops |= zip(sums, float_sums, strict=True)
    for op_index in range(len(graph.subgraph.operators)):
        if op_index in float_ops:
            float_run.advance(float_ops[op_index])
            float_run.run(float_ops[op_index])
            if steps.ranges:
                wanted_output = float_run.values[float_graph.output_of(float_ops[op_index])]
                fit_range(graph, graph.output_of(op_index), wanted_output, seed=op_index)
        run.run(op_index)
        conv = layers.get(op_index)
        if conv and conv.bias is not None:
            float_conv = float_of[op_index]
            wanted = float_run.channel_means(float_conv.output)
            before = shift_steps(conv, run, wanted)
            if steps.weights and round_layer(conv, run, float_conv, float_run, seed=op_index):
                run.run(op_index)
            if steps.biases:
                correct_layer(conv, run, wanted)
            after = shift_steps(conv, run, wanted)
            effects.append(LayerEffect(layer_name(graph, conv), conv.kind, before, after))
        if op_index in float_ops:
            float_run.forget(float_ops[op_index])
        run.forget(op_index)
        on_operator()
    return graph.pack(), effects


def layer_name(graph: Graph, conv: Convolution) -> str:
    """The layer a fused tensor's long name speaks of: its first part, without scopes and Keras' counter.

    What follows the first part differs between the float and the int8 file of one network.
    """
    scopes = graph.tensor_name(conv.output).split(";")[0].split("/")
    return (scopes[-2] if len(scopes) > 1 else scopes[0]).removesuffix("_1")
