"""Refine an int8 model towards its float, layer by layer in order of execution: first the weights, then the bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.bias_correction import correct_bias, mean_shift_steps
from export.int8.gptq import round_weights
from export.int8.graph import Graph, layer_name
from export.int8.runner import run_layers

MAX_FRAMES = 200


@dataclass(frozen=True)
class Refinement:
    """The steps applied to each layer; leave one out to compare."""

    weight_rounding: bool = True
    bias_correction: bool = True

    @property
    def any(self) -> bool:
        return self.weight_rounding or self.bias_correction


@dataclass(frozen=True)
class LayerEffect:
    """Distance of a layer's channel means from the float's: RMS over channels, in quantization steps of its output.

    Both values are measured behind the refined layers above: as converted, and as refined.
    """

    layer: str
    operator: str
    before_steps: float
    after_steps: float


def refine(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    refinement: Refinement = Refinement(),
    threads: int,
    on_operator: Callable[[], None] = lambda: None,
) -> tuple[bytes, list[LayerEffect]]:
    """Return the int8 flatbuffer with refined weights and biases, and the effect on each layer.

    `frames` are N x height x width x 3 RGB bytes. `on_operator` is called after each operator of the int8 model.
    Raises `UserError` if the two files are not of the same network.
    """
    graph = Graph(int8)
    effects: list[LayerEffect] = []
    for layer in run_layers(graph, Graph(float32), frames, runtime, threads=threads, on_operator=on_operator):
        conv, run = layer.conv, layer.run
        if conv.bias is None:
            continue
        float_means = layer.float_run.channel_means(layer.float_conv.output)
        before = mean_shift_steps(conv, run, float_means)
        if refinement.weight_rounding and round_weights(layer, seed=conv.op_index):
            run.run(conv.op_index)
        if refinement.bias_correction:
            correct_bias(conv, run, float_means)
        after = mean_shift_steps(conv, run, float_means)
        effects.append(LayerEffect(layer_name(graph, conv), conv.operator, before, after))
    return graph.pack(), effects
