"""The TFLite file as a graph one can read and change: tensors, operators, constants, multiply-adds.

`tensorflow/lite/schema` generates the classes; here they get the few questions the other files ask of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"

_OP_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPE_NAMES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}

# Where a convolution keeps its data, weights and bias among its inputs.
_CONVOLUTIONS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "FULLY_CONNECTED": (0, 1, 2),
}


@dataclass(frozen=True)
class Convolution:
    """An operator with weights, by its tensors' indices; `bias` is None where it has none."""

    op_index: int
    kind: str
    data: int
    weights: int
    bias: int | None
    output: int


class Graph:
    """An unpacked model with one subgraph, as every model of ours has."""

    def __init__(self, flatbuffer: bytes) -> None:
        self.model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        if len(self.model.subgraphs) != 1:
            raise ValueError(f"expected a model of one subgraph, got {len(self.model.subgraphs)}")

    @property
    def subgraph(self) -> Any:
        return self.model.subgraphs[0]

    def pack(self) -> bytes:
        """The flatbuffer's bytes."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def op_name(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        return _OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def operators(self, name: str) -> list[int]:
        """The positions of all operators of a kind."""
        return [position for position, op in enumerate(self.subgraph.operators) if self.op_name(op) == name]

    def output_of(self, op_index: int) -> int:
        return int(self.subgraph.operators[op_index].outputs[0])

    def tensor_name(self, index: int) -> str:
        name = self.subgraph.tensors[index].name
        return name.decode() if isinstance(name, bytes) else str(name)

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self.subgraph.tensors[index].shape)

    def dtype(self, index: int) -> str:
        return _TYPE_NAMES[self.subgraph.tensors[index].type]

    def is_constant(self, index: int) -> bool:
        data = self.model.buffers[self.subgraph.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def constant(self, index: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A copy of a constant's values."""
        data = self.model.buffers[self.subgraph.tensors[index].buffer].data
        return np.frombuffer(bytes(data), dtype).reshape(self.shape(index)).copy()

    def set_constant(self, index: int, values: npt.NDArray[Any]) -> None:
        """Give the tensor these values, in a buffer of its own where it shared one: the converter merges equal ones."""
        tensor = self.subgraph.tensors[index]
        if sum(other.buffer == tensor.buffer for other in self.subgraph.tensors) > 1:
            self.model.buffers.append(schema.BufferT())
            tensor.buffer = len(self.model.buffers) - 1
        self.model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    def scales(self, index: int) -> npt.NDArray[np.float64]:
        """The quantisation scales of a tensor: one, or one a channel."""
        return np.asarray(self.subgraph.tensors[index].quantization.scale, np.float64)

    def zero_point(self, index: int) -> int:
        return int(self.subgraph.tensors[index].quantization.zeroPoint[0])

    def set_quantization(self, index: int, scale: float, zero_point: int) -> None:
        """Give an activation another scale; the biases of the layers that read it keep what they mean."""
        before = float(self.scales(index)[0])
        quantization = self.subgraph.tensors[index].quantization
        quantization.scale = np.array([scale], np.float32)
        quantization.zeroPoint = np.array([zero_point], np.int64)
        for conv in self.convolutions:
            if conv.data == index and conv.bias is not None:  # a bias's steps are input scale x weight scale
                ratio = float(np.float32(scale)) / before
                steps = np.rint(self.constant(conv.bias, np.int32) / ratio)
                limits = np.iinfo(np.int32)
                self.set_constant(conv.bias, np.clip(steps, limits.min, limits.max).astype(np.int32))
                bias = self.subgraph.tensors[conv.bias].quantization
                bias.scale = (self.scales(conv.bias) * ratio).astype(np.float32)

    @property
    def inputs(self) -> list[int]:
        return [int(index) for index in self.subgraph.inputs]

    @property
    def outputs(self) -> list[int]:
        return [int(index) for index in self.subgraph.outputs]

    @cached_property
    def convolutions(self) -> list[Convolution]:
        """Every operator with weights, in order of execution."""
        found = []
        for op_index, op in enumerate(self.subgraph.operators):
            kind = self.op_name(op)
            if kind in _CONVOLUTIONS:
                data, weights, bias = _CONVOLUTIONS[kind]
                has_bias = len(op.inputs) > bias and op.inputs[bias] >= 0
                found.append(
                    Convolution(
                        op_index,
                        kind,
                        int(op.inputs[data]),
                        int(op.inputs[weights]),
                        int(op.inputs[bias]) if has_bias else None,
                        int(op.outputs[0]),
                    )
                )
        return found

    def op_census(self) -> Counter[str]:
        """How many operators of each kind."""
        return Counter(self.op_name(op) for op in self.subgraph.operators)

    def dtype_census(self) -> Counter[str]:
        """How many tensors of each dtype."""
        return Counter(self.dtype(index) for index in range(len(self.subgraph.tensors)))

    def multiply_adds(self) -> int:
        """Multiply-adds of one invocation, from the shapes of everything with weights."""
        total = 0
        for conv in self.convolutions:
            # Weights are (out, kh, kw, in); depthwise (1, kh, kw, out); and fully connected (out, in).
            weights, output = self.shape(conv.weights), self.shape(conv.output)
            if conv.kind == "TRANSPOSE_CONV":  # every input element meets the whole kernel
                total += int(np.prod(self.shape(conv.data))) * int(np.prod(weights[:3]))
            elif conv.kind == "DEPTHWISE_CONV_2D":
                total += int(np.prod(output)) * int(np.prod(weights[1:3]))
            else:
                total += int(np.prod(output)) * int(np.prod(weights[1:]))
        return total

    def parameters(self) -> int:
        """Weights and biases."""
        indices = {index for conv in self.convolutions for index in (conv.weights, conv.bias) if index is not None}
        return sum(int(np.prod(self.shape(index))) for index in indices)

    def with_outputs(self, outputs: list[int]) -> bytes:
        """The bytes of this graph giving other tensors, so that a delegate keeps them instead of fusing them away."""
        kept, self.subgraph.outputs = self.subgraph.outputs, np.array(outputs, np.int32)
        signatures, self.model.signatureDefs = self.model.signatureDefs, None  # they name the old outputs
        try:
            return self.pack()
        finally:
            self.subgraph.outputs, self.model.signatureDefs = kept, signatures

    def single_op(self, op_index: int) -> tuple[bytes, list[int], list[int]]:
        """One operator as a model of its own: its bytes, and which tensors of this graph it takes and gives."""
        op = self.subgraph.operators[op_index]
        used = [int(index) for index in (*op.inputs, *op.outputs) if index >= 0]
        position = {index: number for number, index in enumerate(dict.fromkeys(used))}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.operatorCodes, model.buffers = self.model.version, self.model.operatorCodes, []
        model.buffers.append(schema.BufferT())  # buffer 0 is "no data", by convention
        graph.tensors = []
        for index in position:
            tensor = _shallow_copy(self.subgraph.tensors[index])
            tensor.buffer = 0
            if self.is_constant(index):
                model.buffers.append(self.model.buffers[self.subgraph.tensors[index].buffer])
                tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
        moved = _shallow_copy(op)
        moved.inputs = np.array([position.get(int(index), -1) for index in op.inputs], np.int32)
        moved.outputs = np.array([position[int(index)] for index in op.outputs], np.int32)
        takes = [int(index) for index in op.inputs if index >= 0 and not self.is_constant(int(index))]
        gives = [int(index) for index in op.outputs]
        graph.inputs = np.array([position[index] for index in takes], np.int32)
        graph.outputs = np.array([position[index] for index in gives], np.int32)
        graph.operators = [moved]
        model.subgraphs = [graph]
        alone = Graph.__new__(Graph)
        alone.model = model
        return alone.pack(), takes, gives


def _shallow_copy(item: Any) -> Any:
    copy = type(item)()
    copy.__dict__.update(item.__dict__)
    return copy
