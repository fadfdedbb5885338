"""The flatbuffer as a graph: packing changes nothing, counts agree with hand-worked ones, and edits stay local."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph, match_layers
from tests.export.interpreting import invoke

# The toy at 64 px: 3x3 convolution to 16 channels, depthwise 3x3 with stride 2, transposed 2x2 back, 1x1 to one.
TOY_MULTIPLY_ADDS = 64 * 64 * 16 * 3 * 3 * 3 + 32 * 32 * 16 * 3 * 3 + 32 * 32 * 16 * 2 * 2 * 16 + 64 * 64 * 32
TOY_WEIGHTS = 16 * 3 * 3 * 3 + 16 * 3 * 3 + 16 * 2 * 2 * 16 + 32
TOY_BIASES = 16 + 16 + 16 + 1


def enlarged(frame: Frame) -> Frame:
    """A frame of the shipped model's size, with its batch axis."""
    return frame.repeat(4, axis=0).repeat(4, axis=1)[None, :224, :224]


def run_one_by_one(runtime: Runtime, graph: Graph, frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values: dict[int, npt.NDArray[Any]] = {graph.inputs[0]: frame}
    for op_index in range(len(graph.subgraph.operators)):
        model, inputs, outputs = graph.single_op(op_index)
        values[outputs[0]] = invoke(runtime, model, *(values[index] for index in inputs))
    return values[graph.outputs[0]]


def test_packing_changes_no_output_and_packing_again_no_byte(
    runtime: Runtime, shipped_int8: bytes, frames: Frame
) -> None:
    graph = Graph(shipped_int8)
    packed = graph.pack()
    assert packed[4:8] == b"TFL3"
    assert Graph(packed).pack() == packed
    frame = enlarged(frames[3])
    assert np.array_equal(invoke(runtime, packed, frame), invoke(runtime, shipped_int8, frame))


def test_operators_run_one_by_one_give_the_whole_graphs_output(
    runtime: Runtime, shipped_int8: bytes, frames: Frame
) -> None:
    graph = Graph(shipped_int8)
    before, frame = graph.pack(), enlarged(frames[3])
    whole = invoke(runtime, shipped_int8, frame)
    assert len(np.unique(whole)) > 50  # not a constant map
    assert np.array_equal(run_one_by_one(runtime, graph, frame), whole)
    assert graph.pack() == before


@pytest.mark.slow
def test_operators_of_a_float_graph_run_one_by_one_too(runtime: Runtime, toy_float32: bytes, frames: Frame) -> None:
    frame = frames[3][None].astype(np.float32)
    one_by_one = run_one_by_one(runtime, Graph(toy_float32), frame)
    np.testing.assert_allclose(one_by_one, invoke(runtime, toy_float32, frame), atol=1e-5)


@pytest.mark.slow
def test_operators_dtypes_multiply_adds_and_parameters_are_counted(toy_int8: bytes, toy_float32: bytes) -> None:
    core = dict.fromkeys(("MUL", "ADD", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONCATENATION", "LOGISTIC"), 1)
    core["CONV_2D"] = 2
    int8, float32 = Graph(toy_int8), Graph(toy_float32)
    assert float32.op_census() == Counter(core)
    assert int8.op_census() == Counter({**core, "QUANTIZE": 2})
    # Four biases and the transposed convolution's output shape; the frame and the map.
    assert int8.dtype_census() == Counter({"int8": 15, "int32": 5, "uint8": 2})
    assert set(float32.dtype_census()) == {"float32", "int32"}
    assert int8.multiply_adds() == float32.multiply_adds() == TOY_MULTIPLY_ADDS
    assert int8.parameters() == TOY_WEIGHTS + TOY_BIASES


@pytest.mark.slow
def test_convolutions_come_in_order_of_execution_with_their_shapes(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    convolutions = graph.convolutions
    assert [conv.operator for conv in convolutions] == ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_2D"]
    assert [conv.op_index for conv in convolutions] == sorted(conv.op_index for conv in convolutions)
    weights = [(16, 3, 3, 3), (1, 3, 3, 16), (16, 2, 2, 16), (1, 1, 1, 32)]
    assert [graph.shape(conv.weights) for conv in convolutions] == weights
    data = [(1, 64, 64, 3), (1, 64, 64, 16), (1, 32, 32, 16), (1, 64, 64, 32)]
    assert [graph.shape(conv.data) for conv in convolutions] == data
    assert [graph.shape(conv.bias) for conv in convolutions if conv.bias is not None] == [(16,), (16,), (16,), (1,)]


@pytest.mark.slow
def test_layers_of_two_networks_are_not_matched(shipped_int8: bytes, toy_int8: bytes, toy_float32: bytes) -> None:
    int8, float32 = Graph(toy_int8), Graph(toy_float32)
    assert list(match_layers(int8, float32).values()) == float32.convolutions
    with pytest.raises(UserError, match="same layers in the same order: use files of one export"):
        match_layers(Graph(shipped_int8), float32)


def test_setting_a_constant_leaves_another_tensor_of_its_buffer_alone(shipped_int8: bytes) -> None:
    graph = Graph(shipped_int8)
    biases = [conv.bias for conv in graph.convolutions if conv.bias is not None]
    first = biases[0]
    other = next(bias for bias in biases[1:] if graph.shape(bias) == graph.shape(first))
    graph.subgraph.tensors[other].buffer = graph.subgraph.tensors[first].buffer
    shared = graph.constant(other, np.int32)
    graph.set_constant(first, shared + 7)
    packed = Graph(graph.pack())
    assert np.array_equal(packed.constant(other, np.int32), shared)
    assert np.array_equal(packed.constant(first, np.int32), shared + 7)


def test_a_model_of_two_subgraphs_is_refused(shipped_int8: bytes) -> None:
    graph = Graph(shipped_int8)
    graph.model.subgraphs.append(graph.subgraph)
    with pytest.raises(ValueError, match="expected a model of one subgraph, got 2"):
        Graph(graph.pack())
