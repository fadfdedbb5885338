"""Run TFLite graphs one operator at a time over many frames, so that refining a layer computes that layer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Convolution, Graph, match_layers


class OperatorRunner:
    """The tensors of all frames that operators have computed and later operators still read."""

    def __init__(self, graph: Graph, frames: npt.NDArray[Any], runtime: Runtime, threads: int) -> None:
        self.graph = graph
        self.runtime, self.threads = runtime, threads
        self.count = len(frames)
        self.values: dict[int, npt.NDArray[Any]] = {graph.inputs[0]: frames}
        self._next = 0
        self._last_reader = {
            int(index): number for number, op in enumerate(graph.subgraph.operators) for index in op.inputs
        }

    def run(self, op_index: int) -> None:
        """Compute an operator's output for every frame. Call it again after changing its constants."""
        model, input_indices, output_indices = self.graph.single_op(op_index)
        interpreter = self.runtime.interpreter(model, self.threads)
        inputs = [interpreter.tensor(detail["index"]) for detail in interpreter.get_input_details()]
        detail = interpreter.get_output_details()[0]
        output = interpreter.tensor(detail["index"])
        results = np.empty((self.count, *detail["shape"][1:]), detail["dtype"])
        for number in range(self.count):
            for index, tensor in zip(input_indices, inputs, strict=True):
                np.copyto(tensor()[0], self.values[index][number])
            interpreter.invoke()
            np.copyto(results[number], output()[0])
        self.values[output_indices[0]] = results

    def run_through(self, op_index: int) -> None:
        """Run every operator that has not run yet, up to and including this one. Keeps this one's inputs."""
        for earlier in range(self._next, op_index):
            self.run(earlier)
            self.release(earlier)
        self.run(op_index)

    def release(self, op_index: int) -> None:
        """Drop what no operator after this one reads. Call it when the operator's output is final."""
        self._next = op_index + 1
        for index in list(self.values):
            if self._last_reader.get(index, -1) <= op_index and index not in self.graph.outputs:
                del self.values[index]

    def dequantize(self, index: int, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return (stored - zero point) x scale, by the quantization of tensor `index`; floats as they are."""
        if self.graph.dtype(index) == "float32":
            return stored.astype(np.float64)
        return (stored.astype(np.float64) - self.graph.zero_point(index)) * float(self.graph.scales(index)[0])

    def channel_means(self, index: int) -> npt.NDArray[np.float64]:
        """Return the mean of each channel over frames and pixels, dequantized."""
        values = self.values[index]
        return self.dequantize(index, values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64))


@dataclass(frozen=True)
class LayerPair:
    """A layer in the int8 and in the float graph, each with its runner, which holds the layer's inputs and output."""

    conv: Convolution
    run: OperatorRunner
    float_conv: Convolution
    float_run: OperatorRunner


def run_layers(
    graph: Graph,
    float_graph: Graph,
    frames: Frame,
    runtime: Runtime,
    *,
    threads: int,
    on_operator: Callable[[], None],
) -> Iterator[LayerPair]:
    """Run an int8 graph and its float side by side, and yield each layer once it has run in both.

    A layer may be changed and run again before the next is taken. `on_operator` is called after each int8 operator.

    Raises `UserError` if the two graphs do not have the same layers.
    """
    float_convs = match_layers(graph, float_graph)
    run = OperatorRunner(graph, frames, runtime, threads)
    float_run = OperatorRunner(float_graph, frames.astype(np.float32), runtime, threads)
    convs = {conv.op_index: conv for conv in graph.convolutions}
    for op_index in range(len(graph.subgraph.operators)):
        run.run(op_index)
        if op_index in convs:
            float_conv = float_convs[op_index]
            float_run.run_through(float_conv.op_index)
            yield LayerPair(convs[op_index], run, float_conv, float_run)
            float_run.release(float_conv.op_index)
        run.release(op_index)
        on_operator()
