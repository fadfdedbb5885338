"""The flatbuffer as a graph: packing changes nothing, counts agree with those worked by hand, and edits stay local."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph

Values = npt.NDArray[Any]

# The toy at 64 px: 3x3 convolution to 16 channels, depthwise 3x3 with stride 2, transposed 2x2 back, 1x1 to one.
TOY_MULTIPLY_ADDS = 64 * 64 * 16 * 3 * 3 * 3 + 32 * 32 * 16 * 3 * 3 + 32 * 32 * 16 * 2 * 2 * 16 + 64 * 64 * 32
TOY_WEIGHTS = 16 * 3 * 3 * 3 + 16 * 3 * 3 + 16 * 2 * 2 * 16 + 32
TOY_BIASES = 16 + 16 + 16 + 1


def run(runtime: Runtime, model: bytes, inputs: list[Values]) -> list[Values]:
    interpreter = runtime.interpreter(model, 1)
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def test_an_unpacked_and_packed_model_gives_the_same_outputs(runtime: Runtime, toy_int8: bytes, frames: Frame) -> None:
    packed = Graph(toy_int8).pack()
    assert packed[4:8] == b"TFL3"
    for frame in frames[:3]:
        (before,), (after,) = (run(runtime, model, [frame[None]]) for model in (toy_int8, packed))
        assert np.array_equal(before, after)


def test_packing_again_gives_the_same_bytes(toy_int8: bytes) -> None:
    once = Graph(toy_int8).pack()
    assert Graph(once).pack() == once


def test_operators_and_dtypes_are_counted(toy_int8: bytes, toy_float32: bytes) -> None:
    core = {
        "MUL": 1,
        "ADD": 1,
        "CONV_2D": 2,
        "DEPTHWISE_CONV_2D": 1,
        "TRANSPOSE_CONV": 1,
        "CONCATENATION": 1,
        "LOGISTIC": 1,
    }
    assert Graph(toy_float32).op_census() == Counter(core)
    assert Graph(toy_int8).op_census() == Counter({**core, "QUANTIZE": 2})
    # Four biases and the transposed convolution's output shape; the frame and the map.
    assert Graph(toy_int8).dtype_census() == Counter({"int8": 15, "int32": 5, "uint8": 2})
    assert set(Graph(toy_float32).dtype_census()) == {"float32", "int32"}


def test_multiply_adds_are_those_worked_by_hand(toy_int8: bytes, toy_float32: bytes) -> None:
    assert Graph(toy_int8).multiply_adds() == TOY_MULTIPLY_ADDS
    assert Graph(toy_float32).multiply_adds() == TOY_MULTIPLY_ADDS


def test_parameters_are_those_worked_by_hand(toy_int8: bytes) -> None:
    assert Graph(toy_int8).parameters() == TOY_WEIGHTS + TOY_BIASES


def test_convolutions_come_in_order_of_execution_with_their_shapes(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    found = graph.convolutions
    assert [conv.kind for conv in found] == ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_2D"]
    assert [conv.op_index for conv in found] == sorted(conv.op_index for conv in found)
    assert [graph.shape(conv.weights) for conv in found] == [
        (16, 3, 3, 3),
        (1, 3, 3, 16),
        (16, 2, 2, 16),
        (1, 1, 1, 32),
    ]
    assert [graph.shape(conv.data) for conv in found] == [
        (1, 64, 64, 3),
        (1, 64, 64, 16),
        (1, 32, 32, 16),
        (1, 64, 64, 32),
    ]
    assert [graph.shape(conv.bias) for conv in found if conv.bias is not None] == [(16,), (16,), (16,), (1,)]


@pytest.mark.parametrize("kind", ["toy_int8", "toy_float32"])
def test_operators_run_one_by_one_give_what_the_whole_graph_gives(
    runtime: Runtime, frames: Frame, kind: str, request: pytest.FixtureRequest
) -> None:
    model: bytes = request.getfixturevalue(kind)
    graph = Graph(model)
    frame = frames[3][None].astype(graph.dtype(graph.inputs[0]))
    values: dict[int, Values] = {graph.inputs[0]: frame}
    for op_index in range(len(graph.subgraph.operators)):
        alone, takes, gives = graph.single_op(op_index)
        values |= zip(gives, run(runtime, alone, [values[index] for index in takes]), strict=True)
    (whole,) = run(runtime, model, [frame])
    chained = values[graph.outputs[0]]
    if kind == "toy_int8":
        assert np.array_equal(chained, whole)
    else:
        np.testing.assert_allclose(chained, whole, atol=1e-5)


@pytest.mark.slow
def test_operators_of_a_whole_unet_run_one_by_one_give_what_it_gives(
    runtime: Runtime, frames: Frame, plain_int8: bytes
) -> None:
    graph = Graph(plain_int8)
    values: dict[int, Values] = {graph.inputs[0]: frames[3][None]}
    for op_index in range(len(graph.subgraph.operators)):
        alone, takes, gives = graph.single_op(op_index)
        values |= zip(gives, run(runtime, alone, [values[index] for index in takes]), strict=True)
    (whole,) = run(runtime, plain_int8, [frames[3][None]])
    assert len(np.unique(whole)) > 50  # it has something to say
    assert np.array_equal(values[graph.outputs[0]], whole)


def test_taking_single_operators_leaves_the_graph_as_it_was(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    before = graph.pack()
    for op_index in range(len(graph.subgraph.operators)):
        graph.single_op(op_index)
    assert graph.pack() == before


def test_other_outputs_can_be_asked_for_and_the_graph_stays_as_it_was(
    runtime: Runtime, toy_float32: bytes, frames: Frame
) -> None:
    graph = Graph(toy_float32)
    before, outputs = graph.pack(), graph.outputs
    wanted = [conv.output for conv in graph.convolutions]
    given = run(runtime, graph.with_outputs(wanted), [frames[0][None].astype(np.float32)])
    assert [values.shape for values in given] == [graph.shape(index) for index in wanted]
    assert given[0].min() >= 0  # behind the fused ReLU6, of which the delegate keeps nothing unasked
    assert graph.outputs == outputs
    assert graph.pack() == before


def test_outputs_are_put_back_even_where_packing_fails(toy_float32: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(toy_float32)
    outputs, signatures = graph.outputs, graph.model.signatureDefs

    def fail(self: Graph) -> bytes:
        raise RuntimeError("no")

    monkeypatch.setattr(Graph, "pack", fail)
    with pytest.raises(RuntimeError):
        graph.with_outputs([0])
    assert graph.outputs == outputs
    assert graph.model.signatureDefs is signatures


def test_a_constant_set_is_the_constant_read_and_survives_packing(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    bias = graph.convolutions[0].bias
    assert bias is not None
    values = np.arange(16, dtype=np.int32) - 5
    graph.set_constant(bias, values)
    assert np.array_equal(graph.constant(bias, np.int32), values)
    assert np.array_equal(Graph(graph.pack()).constant(bias, np.int32), values)


def test_setting_a_constant_leaves_alone_another_tensor_that_shares_its_buffer(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    one, other = graph.convolutions[0].bias, graph.convolutions[1].bias
    assert one is not None
    assert other is not None
    graph.subgraph.tensors[other].buffer = graph.subgraph.tensors[one].buffer
    shared = graph.constant(other, np.int32)
    graph.set_constant(one, shared + 7)
    packed = Graph(graph.pack())
    assert np.array_equal(packed.constant(other, np.int32), shared)
    assert np.array_equal(packed.constant(one, np.int32), shared + 7)


def test_a_constant_read_is_a_copy(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    weights = graph.convolutions[0].weights
    before = graph.constant(weights, np.int8)
    graph.constant(weights, np.int8)[:] = 0
    assert np.array_equal(graph.constant(weights, np.int8), before)


def test_a_model_of_two_subgraphs_is_refused(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    graph.model.subgraphs.append(graph.subgraph)
    with pytest.raises(ValueError, match="expected a model of one subgraph, got 2"):
        Graph(graph.pack())
