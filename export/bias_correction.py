"""Sequential empirical bias correction: gives the int8 model its float channel means back, at no cost at run time.

Rounding the weights of a folded depthwise convolution shifts the mean of its channels, and the shifts add up through
the network. Layer by layer, in order of execution, the mean of every channel of a convolution's output is compared in
the float and in the int8 model over calibration frames, and the difference is added to the convolution's int32 bias.
A layer is measured behind the corrected ones: correcting all at once counts every shift again in each layer below it.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv 1906.04721),
appendix D. There pre-activations are compared; here the outputs after ReLU6, which is what the next layer sees.

The int8 model is run one operator at a time over all frames, so that a layer costs itself and not the whole network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.runtime import Runtime
from export.flatbuffer import Convolution, Graph

Means = npt.NDArray[np.float64]  # one a channel

DEFAULT_FRAMES = 64
# A saturated ReLU6 passes on only a part of what is added to the bias; measuring again closes most of the rest.
PASSES = 2
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class LayerEffect:
    """How far a layer's channel means lay from the float model's, in steps of its int8 output (RMS over channels)."""

    layer: str
    kind: str
    before_steps: float
    after_steps: float


def correct_bias(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    threads: int,
    on_operator: Callable[[], None] = lambda: None,
) -> tuple[bytes, list[LayerEffect]]:
    """Return the int8 flatbuffer with corrected biases, and the effect on each layer.

    Args:
        int8: a full-integer flatbuffer.
        float32: the same network in float; layers are matched by the names of their output tensors.
        frames: N x height x width x 3 RGB bytes to measure on.
        on_operator: called after each operator.

    Raises ValueError where the two are not the same network.
    """
    graph = Graph(int8)
    wanted = _float_means(Graph(float32), frames, runtime, threads)
    missing = [graph.tensor_name(c.output) for c in graph.convolutions if graph.tensor_name(c.output) not in wanted]
    if missing:
        raise ValueError(f"expected the float and the int8 model to be one network, but float has no {missing[0]}")
    convolutions = {conv.op_index: conv for conv in graph.convolutions}
    activations = _Activations(graph, frames)
    effects = []
    for op_index in range(len(graph.subgraph.operators)):
        conv = convolutions.get(op_index)
        if conv is None or conv.bias is None:
            activations.run(op_index, runtime, threads)
        else:
            effects.append(_correct_layer(graph, conv, activations, wanted, runtime, threads))
        activations.forget(op_index)
        on_operator()
    return graph.pack(), effects


def _correct_layer(
    graph: Graph,
    conv: Convolution,
    activations: _Activations,
    wanted: dict[str, Means],
    runtime: Runtime,
    threads: int,
) -> LayerEffect:
    assert conv.bias is not None
    name, step = graph.tensor_name(conv.output), float(graph.scales(conv.output)[0])
    errors, biases = [], [graph.constant(conv.bias, np.int32)]
    for _ in range(PASSES):
        error = wanted[name] - activations.run(conv.op_index, runtime, threads)
        errors.append(_rms(error) / step)
        # The bias's own scale is input scale x weight scale, for each channel.
        moved = biases[-1].astype(np.int64) + np.rint(error / graph.scales(conv.bias)).astype(np.int64)
        biases.append(np.clip(moved, INT32.min, INT32.max).astype(np.int32))
        graph.set_constant(conv.bias, biases[-1])
    errors.append(_rms(wanted[name] - activations.run(conv.op_index, runtime, threads)) / step)
    best = int(np.argmin(errors))
    if best != PASSES:  # a layer that steps over its aim keeps the best bias seen
        graph.set_constant(conv.bias, biases[best])
        activations.run(conv.op_index, runtime, threads)
    return LayerEffect(short_name(name), conv.kind, errors[0], errors[best])


class _Activations:
    """The tensors of all frames that operators yet to come will read."""

    def __init__(self, graph: Graph, frames: Frame) -> None:
        self.graph = graph
        self.values: dict[int, npt.NDArray[np.generic]] = {graph.inputs[0]: frames[:, None]}
        self.last_reader = {
            int(index): number for number, op in enumerate(graph.subgraph.operators) for index in op.inputs
        }

    def run(self, op_index: int, runtime: Runtime, threads: int) -> Means:
        """Run one operator over all frames; returns the real-valued mean of each channel of its output."""
        model, takes, gives = self.graph.single_op(op_index)
        interpreter = runtime.interpreter(model, threads)
        inputs = [interpreter.tensor(detail["index"]) for detail in interpreter.get_input_details()]
        detail = interpreter.get_output_details()[0]
        output = interpreter.tensor(detail["index"])
        count = len(next(iter(self.values.values())))
        results = np.empty((count, *detail["shape"]), detail["dtype"])
        for number in range(count):
            for index, tensor in zip(takes, inputs, strict=True):
                np.copyto(tensor(), self.values[index][number])
            interpreter.invoke()
            np.copyto(results[number], output())
        self.values[gives[0]] = results
        return (_channel_means(results) - self.graph.zero_point(gives[0])) * float(self.graph.scales(gives[0])[0])

    def forget(self, op_index: int) -> None:
        """Let go of what no later operator reads."""
        for index in list(self.values):
            if self.last_reader.get(index, -1) <= op_index and index not in self.graph.outputs:
                del self.values[index]


def _float_means(graph: Graph, frames: Frame, runtime: Runtime, threads: int) -> dict[str, Means]:
    """The mean of each channel of each convolution's output, by the output tensor's name."""
    outputs = [conv.output for conv in graph.convolutions]
    interpreter = runtime.interpreter(graph.with_outputs(outputs), threads)
    read_input = interpreter.tensor(interpreter.get_input_details()[0]["index"])
    read_outputs = [interpreter.tensor(detail["index"]) for detail in interpreter.get_output_details()]
    sums = [np.zeros(graph.shape(index)[-1]) for index in outputs]
    for frame in frames:
        np.copyto(read_input()[0], frame)
        interpreter.invoke()
        for total, read in zip(sums, read_outputs, strict=True):
            total += _channel_means(read())
    return {graph.tensor_name(index): total / len(frames) for index, total in zip(outputs, sums, strict=True)}


def _channel_means(values: npt.NDArray[Any]) -> Means:
    return values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64)


def _rms(values: Means) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def short_name(tensor_name: str) -> str:
    """The layer a fused tensor's long name speaks of: its first part, without scopes and counters."""
    parts = tensor_name.split(";")[0].split("/")
    return parts[-2] if len(parts) > 1 else parts[0]
