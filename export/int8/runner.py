"""A TFLite graph run one operator at a time over many frames, so that refining a layer costs that layer alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.model.runtime import Runtime
from export.int8.graph import Graph


class Stepwise:
    """The tensors of all frames, as far as the operators run so far gave them and later ones will read them."""

    def __init__(self, graph: Graph, frames: npt.NDArray[Any], runtime: Runtime, threads: int) -> None:
        self.graph = graph
        self.runtime, self.threads = runtime, threads
        self.count = len(frames)
        self.done = 0
        """How many operators are behind."""
        self.values: dict[int, npt.NDArray[Any]] = {graph.inputs[0]: frames}
        self._last_reader = {
            int(index): number for number, op in enumerate(graph.subgraph.operators) for index in op.inputs
        }

    def run(self, op_index: int) -> None:
        """Compute an operator's output for every frame. May be called again after its constants have changed."""
        model, takes, gives = self.graph.single_op(op_index)
        interpreter = self.runtime.interpreter(model, self.threads)
        inputs = [interpreter.tensor(detail["index"]) for detail in interpreter.get_input_details()]
        detail = interpreter.get_output_details()[0]
        output = interpreter.tensor(detail["index"])
        results = np.empty((self.count, *detail["shape"][1:]), detail["dtype"])
        for number in range(self.count):
            for index, tensor in zip(takes, inputs, strict=True):
                np.copyto(tensor()[0], self.values[index][number])
            interpreter.invoke()
            np.copyto(results[number], output()[0])
        self.values[gives[0]] = results

    def forget(self, op_index: int) -> None:
        """Let go of what no operator behind this one reads. Call when its output is final."""
        self.done = op_index + 1
        for index in list(self.values):
            if self._last_reader.get(index, -1) <= op_index and index not in self.graph.outputs:
                del self.values[index]

    def advance(self, op_index: int) -> None:
        """Run every operator before this one that has not been run."""
        for earlier in range(self.done, op_index):
            self.run(earlier)
            self.forget(earlier)

    def real(self, index: int, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """What numbers stored in a tensor mean: (stored - zero point) x scale, or themselves in a float tensor."""
        if self.graph.dtype(index) == "float32":
            return stored.astype(np.float64)
        return (stored.astype(np.float64) - self.graph.zero_point(index)) * float(self.graph.scales(index)[0])

    def channel_means(self, index: int) -> npt.NDArray[np.float64]:
        """The mean of each channel over frames and pixels, as a real number."""
        values = self.values[index]
        return self.real(index, values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64))
