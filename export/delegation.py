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


_CAUSES: list[tuple[set[str], str]] = [
    (
        {"SHAPE", "STRIDED_SLICE", "PACK"},
        "shapes are computed at run time because the batch was not fixed to 1 before converting",
    ),
    (
        {"TILE", "RESHAPE", "BROADCAST_TO"},
        "nearest upsampling becomes TILE and RESHAPE: use bilinear or transposed convolution",
    ),
    (
        {"QUANTIZE", "DEQUANTIZE"},
        "the inputs of a concatenation or an addition have different ranges: use ReLU6 before it",
    ),
    ({"MUL", "ADD", "SUB"}, "a BatchNorm did not fold: put it directly after a convolution"),
]
_UNKNOWN_CAUSE = "use convolutions, ReLU6, bilinear upsampling, concatenation, addition and sigmoid"


def delegation(flatbuffer: bytes, runtime: Runtime) -> Delegation:
    """Load the model and return what XNNPACK runs of it.

    Walks back from the outputs, each tensor by its last producer.

    Example:
        >>> delegation(flatbuffer, find_runtime("litert")).partitions
        1
    """
    interpreter = runtime.interpreter(flatbuffer, threads=1)
    ops = interpreter._get_ops_details()
    # A delegate's node follows the operators it replaces, and produces some of the same tensors.
    producer = {int(output): op for op in ops for output in op["outputs"]}
    executed: dict[int, dict[str, Any]] = {}
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    while waiting:
        op = producer.get(waiting.pop())
        if op is None or op["index"] in executed:
            continue
        executed[op["index"]] = op
        waiting += [int(index) for index in op["inputs"] if index >= 0]
    partitions = sum(op["op_name"] == DELEGATE for op in executed.values())
    names = {int(detail["index"]): detail["name"] for detail in interpreter.get_tensor_details()}
    ends = {
        int(detail["index"])
        for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())
        if detail["dtype"] == np.uint8
    }
    outside: dict[bool, list[str]] = {False: [], True: []}
    for _, op in sorted(executed.items()):
        if op["op_name"] == DELEGATE:
            continue
        at_end = op["op_name"] == "QUANTIZE" and bool(ends & {int(index) for index in (*op["inputs"], *op["outputs"])})
        outside[at_end].append(f"{op['op_name']} {names.get(int(op['outputs'][0]), '')}".strip())
    return Delegation(partitions, tuple(outside[False]), tuple(outside[True]))
