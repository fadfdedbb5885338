"""Read and edit a TFLite flatbuffer as a graph: tensors, operators, constants, multiply-adds.

The classes are generated from TFLite's schema; `Graph` adds what this package needs.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge.errors import UserError

FILE_IDENTIFIER = b"TFL3"

_OP_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPE_NAMES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}

# Positions of data, weights and bias among a convolution's inputs.
_CONVOLUTIONS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "FULLY_CONNECTED": (0, 1, 2),
}


@dataclass(frozen=True)
class Convolution:
    """An operator with weights, by the indices of its tensors."""

    op_index: int
    operator: str
    data: int
    weights: int
    bias: int | None
    output: int


class Graph:
    """An unpacked model with one subgraph. Raises ValueError for more."""

    def __init__(self, flatbuffer: bytes) -> None:
        self.model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        if len(self.model.subgraphs) != 1:
            raise ValueError(f"expected a model of one subgraph, got {len(self.model.subgraphs)}")

    @property
    def subgraph(self) -> Any:
        return self.model.subgraphs[0]

    def pack(self) -> bytes:
        """Return the flatbuffer's bytes."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def op_name(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        return _OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

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
        """Return a copy of a constant's values."""
        data = self.model.buffers[self.subgraph.tensors[index].buffer].data
        return np.frombuffer(bytes(data), dtype).reshape(self.shape(index)).copy()

    def set_constant(self, index: int, values: npt.NDArray[Any]) -> None:
        """Set a constant's values, in a new buffer if it shared one: the converter merges equal constants."""
        tensor = self.subgraph.tensors[index]
        if sum(other.buffer == tensor.buffer for other in self.subgraph.tensors) > 1:
            self.model.buffers.append(schema.BufferT())
            tensor.buffer = len(self.model.buffers) - 1
        self.model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    def set_bias(self, conv: Convolution, steps: npt.NDArray[Any]) -> None:
        """Set a convolution's bias, in steps of input scale x weight scale per channel, clipped to int32."""
        assert conv.bias is not None
        limits = np.iinfo(np.int32)
        self.set_constant(conv.bias, np.clip(steps, limits.min, limits.max).astype(np.int32))

    def scales(self, index: int) -> npt.NDArray[np.float64]:
        """Return the quantization scales of a tensor: one, or one per channel."""
        return np.asarray(self.subgraph.tensors[index].quantization.scale, np.float64)

    def zero_point(self, index: int) -> int:
        return int(self.subgraph.tensors[index].quantization.zeroPoint[0])

    @property
    def inputs(self) -> list[int]:
        return [int(index) for index in self.subgraph.inputs]

    @property
    def outputs(self) -> list[int]:
        return [int(index) for index in self.subgraph.outputs]

    @cached_property
    def convolutions(self) -> list[Convolution]:
        """Every operator with weights, in order of execution."""
        convolutions = []
        for op_index, op in enumerate(self.subgraph.operators):
            name = self.op_name(op)
            if name in _CONVOLUTIONS:
                inputs = [int(index) for index in op.inputs]
                data, weights, bias = _CONVOLUTIONS[name]
                bias_index = inputs[bias] if len(inputs) > bias and inputs[bias] >= 0 else None
                output = int(op.outputs[0])
                convolutions.append(Convolution(op_index, name, inputs[data], inputs[weights], bias_index, output))
        return convolutions

    def op_census(self) -> Counter[str]:
        """Return the number of operators by name."""
        return Counter(self.op_name(op) for op in self.subgraph.operators)

    def dtype_census(self) -> Counter[str]:
        """Return the number of tensors by dtype."""
        return Counter(self.dtype(index) for index in range(len(self.subgraph.tensors)))

    def multiply_adds(self) -> int:
        """Return the multiply-adds of one invocation, from the shapes of the operators with weights."""
        total = 0
        for conv in self.convolutions:
            # Weights are (out, kh, kw, in); depthwise (1, kh, kw, out); and fully connected (out, in).
            weights, output = self.shape(conv.weights), self.shape(conv.output)
            if conv.operator == "TRANSPOSE_CONV":  # every input element meets the whole kernel
                total += int(np.prod(self.shape(conv.data))) * int(np.prod(weights[:3]))
            elif conv.operator == "DEPTHWISE_CONV_2D":
                total += int(np.prod(output)) * int(np.prod(weights[1:3]))
            else:
                total += int(np.prod(output)) * int(np.prod(weights[1:]))
        return total

    def parameters(self) -> int:
        """Return the number of weights and biases."""
        indices = {index for conv in self.convolutions for index in (conv.weights, conv.bias) if index is not None}
        return sum(int(np.prod(self.shape(index))) for index in indices)

    def single_op(self, op_index: int) -> tuple[bytes, list[int], list[int]]:
        """Return one operator as a model: its bytes, and the indices of its inputs and outputs in this graph."""
        op = self.subgraph.operators[op_index]
        used = [int(index) for index in (*op.inputs, *op.outputs) if index >= 0]
        position = {index: number for number, index in enumerate(dict.fromkeys(used))}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.operatorCodes, model.subgraphs = self.model.version, self.model.operatorCodes, [graph]
        model.buffers = [schema.BufferT()]  # buffer 0 is "no data", by convention
        graph.tensors = []
        for index in position:
            tensor = copy(self.subgraph.tensors[index])
            tensor.buffer = 0
            if self.is_constant(index):
                model.buffers.append(self.model.buffers[self.subgraph.tensors[index].buffer])
                tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
        moved = copy(op)
        moved.inputs = np.array([position.get(int(index), -1) for index in op.inputs], np.int32)
        moved.outputs = np.array([position[int(index)] for index in op.outputs], np.int32)
        inputs = [int(index) for index in op.inputs if index >= 0 and not self.is_constant(int(index))]
        outputs = [int(index) for index in op.outputs]
        graph.inputs = np.array([position[index] for index in inputs], np.int32)
        graph.outputs = moved.outputs
        graph.operators = [moved]
        alone = Graph.__new__(Graph)
        alone.model = model
        return alone.pack(), inputs, outputs


def match_layers(int8: Graph, float32: Graph) -> dict[int, Convolution]:
    """Return the float layer of each int8 layer, by the int8 operator's index, in order of execution.

    Raises `UserError` if the two do not have the same layers in the same order.
    """
    names, float_names = ([layer_name(graph, conv) for conv in graph.convolutions] for graph in (int8, float32))
    if names != float_names:
        problem = "the float and the int8 model do not have the same layers in the same order"
        raise UserError(problem, "use files of one export, or leave both out: `fireseg-export all --help`")
    return {conv.op_index: other for conv, other in zip(int8.convolutions, float32.convolutions, strict=True)}


def layer_name(graph: Graph, conv: Convolution) -> str:
    """Return the layer's name: the first part of a fused tensor's name, without scopes and Keras' counter.

    The parts after the first differ between the float and the int8 file of one network.
    """
    scopes = graph.tensor_name(conv.output).split(";")[0].split("/")
    return (scopes[-2] if len(scopes) > 1 else scopes[0]).removesuffix("_1")
