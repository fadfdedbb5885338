"""Which operators XNNPACK runs: the number of partitions, and the operators left outside.

Every cut copies tensors between the delegate and the built-in kernels, which are several times slower. One stranded
operator in the middle of a network can double its latency, silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.model.runtime import Runtime

DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Delegation:
    """XNNPACK's share of a model."""

    partitions: int
    stranded: tuple[str, ...]
    """Operators in or between the partitions that run on built-in kernels."""
    boundary: tuple[str, ...]
    """The QUANTIZE at either end of an int8 model, uint8 to int8 and back, which XNNPACK does not support."""

    @property
    def is_whole(self) -> bool:
        return self.partitions == 1 and not self.stranded

    def cause(self) -> str:
        """Return the likely cause of the cut, by the stranded operators."""
        if not self.partitions:
            return "XNNPACK runs no operator: this build of the runtime has no XNNPACK delegate"
        names = {name.split(" ")[0] for name in self.stranded}
        cause = next((cause for operators, cause in _CAUSES if names & operators), _UNKNOWN_CAUSE)
        return f"{', '.join(sorted(names)) or 'no operator'} run outside it: {cause}"


_CAUSES = (
    ({"SHAPE", "STRIDED_SLICE", "PACK"}, "shapes are computed at run time: fix the batch to 1 before converting"),
    ({"TILE", "RESHAPE", "BROADCAST_TO"}, "nearest upsampling: use bilinear or transposed convolution"),
    ({"QUANTIZE", "DEQUANTIZE"}, "a concatenation or an addition has inputs of different ranges: use ReLU6 before it"),
    ({"MUL", "ADD", "SUB"}, "a BatchNorm did not fold: put it directly after a convolution"),
)
_UNKNOWN_CAUSE = "use convolutions, ReLU6, bilinear upsampling, concatenation, addition and sigmoid"


def delegation(flatbuffer: bytes, runtime: Runtime) -> Delegation:
    """Load the model and return what XNNPACK runs of it, walking back from the outputs."""
    interpreter = runtime.interpreter(flatbuffer, threads=1)
    ops = interpreter._get_ops_details()
    # A delegate's node follows the operators it replaces, and produces some of the same tensors.
    producer = {int(output): op for op in ops for output in op["outputs"]}
    executed: dict[int, dict[str, Any]] = {}
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    while waiting:
        op = producer.get(waiting.pop())
        if op and op["index"] not in executed:
            executed[op["index"]] = op
            waiting += map(int, op["inputs"])
    partitions = sum(op["op_name"] == DELEGATE for op in executed.values())
    names = {int(detail["index"]): detail["name"] for detail in interpreter.get_tensor_details()}
    ends = {
        int(detail["index"])
        for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())
        if detail["dtype"] == np.uint8
    }
    stranded: list[str] = []
    boundary: list[str] = []
    for _, op in sorted(executed.items()):
        if op["op_name"] != DELEGATE:
            at_end = op["op_name"] == "QUANTIZE" and not ends.isdisjoint(map(int, (*op["inputs"], *op["outputs"])))
            name = f"{op['op_name']} {names.get(int(op['outputs'][0]), '')}".strip()
            (boundary if at_end else stranded).append(name)
    return Delegation(partitions, tuple(stranded), tuple(boundary))
