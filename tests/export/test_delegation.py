"""XNNPACK's share of a graph: partitions are counted, and what it leaves out is named with its likely cause."""

from __future__ import annotations

import keras
import pytest

from edge.model.runtime import Runtime
from export.convert import Kind, _run_converter
from export.delegation import Delegation, delegation

SIDE_PX = 32


def converted(kind: Kind, *middle: keras.layers.Layer) -> bytes:
    """Convolution, `middle`, convolution: converted without the checks."""
    keras.utils.set_random_seed(5)
    frame = x = keras.Input((SIDE_PX, SIDE_PX, 3))
    for layer in (keras.layers.Conv2D(8, 3), *middle, keras.layers.Conv2D(1, 1)):
        x = layer(x)
    return _run_converter(keras.Model(frame, x), kind, None)


def mirrored(x: keras.KerasTensor) -> keras.KerasTensor:
    """An operator XNNPACK has no kernel for."""
    return keras.ops.flip(x, axis=2)


def added_up(x: keras.KerasTensor) -> keras.KerasTensor:
    """Another."""
    return keras.ops.cumsum(x, axis=1)


def test_a_graph_of_plain_operators_is_one_partition(runtime: Runtime) -> None:
    found = delegation(converted("float32", keras.layers.ReLU(6.0)), runtime)
    assert found == Delegation(1, (), ())
    assert found.is_whole


def test_the_quantize_at_either_end_of_int8_is_listed_apart(runtime: Runtime, toy_int8: bytes) -> None:
    found = delegation(toy_int8, runtime)
    assert found.is_whole
    assert [name.split(" ")[0] for name in found.boundary] == ["QUANTIZE", "QUANTIZE"]


def test_an_operator_in_the_middle_cuts_the_graph_in_two_and_is_named(runtime: Runtime) -> None:
    found = delegation(converted("float32", keras.layers.Lambda(mirrored)), runtime)
    assert found.partitions == 2
    assert [name.split(" ")[0] for name in found.stranded] == ["REVERSE_V2"]
    assert not found.is_whole
    assert found.blame().startswith("REVERSE_V2 run outside of it: keep to convolutions")


def test_two_such_operators_cut_it_in_three(runtime: Runtime) -> None:
    layers = [
        keras.layers.Lambda(mirrored),
        keras.layers.Conv2D(8, 3, activation="relu6"),
        keras.layers.Lambda(added_up),
    ]
    found = delegation(converted("float32", *layers), runtime)
    assert found.partitions == 3
    assert [name.split(" ")[0] for name in found.stranded] == ["REVERSE_V2", "CUMSUM"]


def test_a_graph_cut_at_its_end_alone_is_not_whole(runtime: Runtime) -> None:
    keras.utils.set_random_seed(5)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3))
    model = keras.Model(frame, mirrored(keras.layers.Conv2D(1, 1)(frame)))
    found = delegation(_run_converter(model, "float32", None), runtime)
    assert found.partitions == 1
    assert len(found.stranded) == 1
    assert not found.is_whole


@pytest.mark.parametrize(
    ("operators", "cause"),
    [
        (("STRIDED_SLICE a", "PACK b", "SHAPE c"), "batch was not fixed to 1"),
        (("TILE up", "RESHAPE up"), "use bilinear or transposed convolution"),
        (("QUANTIZE concat",), "use ReLU6 before it"),
        (("MUL norm", "ADD norm"), "put it straight after a convolution"),
    ],
)
def test_known_operators_name_their_likely_cause(operators: tuple[str, ...], cause: str) -> None:
    blame = Delegation(3, operators, ()).blame()
    assert cause in blame
    assert all(name.split(" ")[0] in blame for name in operators)


def test_no_partition_at_all_means_a_runtime_without_the_delegate() -> None:
    assert "no XNNPACK delegate" in Delegation(0, ("CONV_2D a",), ()).blame()


def test_more_threads_change_nothing(runtime: Runtime, toy_int8: bytes) -> None:
    assert delegation(toy_int8, runtime, threads=2) == delegation(toy_int8, runtime)
