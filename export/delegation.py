"""Proof that XNNPACK runs the whole graph: how many partitions it was cut into, and which operators were left out.

Every cut copies tensors between the delegate and the built-in kernels, which are several times slower themselves: a
stranded operator in the middle of a network doubles its time without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.model.runtime import Runtime

DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Delegation:
    """How XNNPACK takes a model."""

    partitions: int
    stranded: tuple[str, ...]
    """Operators in or between the partitions that run outside of them."""
    boundary: tuple[str, ...]
    """The QUANTIZE at either end of an int8 model, uint8 to int8 and back: XNNPACK has none, and it is one pass over
    the frame or the map outside of the graph it computes."""

    @property
    def is_whole(self) -> bool:
        return self.partitions == 1 and not self.stranded

    def blame(self) -> str:
        """Why the graph is cut, as far as the stranded operators tell."""
        if not self.partitions:
            return "XNNPACK took no operator: this build of the runtime has no XNNPACK delegate"
        kinds = {name.split(" ")[0] for name in self.stranded}
        for culprits, cause in _CAUSES:
            if kinds & culprits:
                return f"{', '.join(sorted(kinds))} run outside of it: {cause}"
        return (
            f"{', '.join(sorted(kinds)) or 'no operator'} run outside of it: keep to convolutions, ReLU6, bilinear "
            "upsampling, concatenation, addition and sigmoid"
        )


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
    ({"MUL", "ADD", "SUB"}, "a BatchNorm did not fold: put it straight after a convolution"),
]


def delegation(flatbuffer: bytes, runtime: Runtime, *, threads: int = 1) -> Delegation:
    """Load the model and look at what is executed: back from the outputs, each tensor by its last producer."""
    interpreter = runtime.interpreter(flatbuffer, threads)
    ops = interpreter._get_ops_details()
    # A delegate's node stands after the operators it took over, and produces some of the same tensors.
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
