"""XNNPACK's share of a graph: partitions are counted, and stranded operators named with their likely cause."""

from __future__ import annotations

import pytest

from edge.model.runtime import Runtime
from export.delegation import Delegation, delegation

SIDE_PX = 32


def convert_unchecked(*operations: str) -> bytes:
    """Convert a float network of these operations in order, without the checks of `convert`."""
    import keras

    from export.convert import _run_converter

    keras.utils.set_random_seed(5)
    made = {
        "conv": lambda x: keras.layers.Conv2D(8, 3)(x),
        "flip": lambda x: keras.ops.flip(x, axis=2),  # XNNPACK has no kernel for this one
        "cumsum": lambda x: keras.ops.cumsum(x, axis=1),  # nor for this
    }
    frame = x = keras.Input((SIDE_PX, SIDE_PX, 3))
    for operation in operations:
        x = made[operation](x)
    return _run_converter(keras.Model(frame, x), "float32", None)


def test_the_quantize_at_either_end_of_int8_is_listed_apart(runtime: Runtime, shipped_int8: bytes) -> None:
    delegated = delegation(shipped_int8, runtime)
    assert delegated.is_whole
    assert [name.split(" ")[0] for name in delegated.boundary] == ["QUANTIZE", "QUANTIZE"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operations", "partitions", "stranded"),
    [
        (("conv", "conv"), 1, []),
        (("conv", "flip", "conv", "cumsum", "conv"), 3, ["REVERSE_V2", "CUMSUM"]),
        (("conv", "flip"), 1, ["REVERSE_V2"]),
    ],
)
def test_operators_outside_xnnpack_cut_the_graph_and_are_named(
    runtime: Runtime, operations: tuple[str, ...], partitions: int, stranded: list[str]
) -> None:
    delegated = delegation(convert_unchecked(*operations), runtime)
    assert delegated.partitions == partitions
    assert [name.split(" ")[0] for name in delegated.stranded] == stranded
    assert delegated.is_whole is not bool(stranded)


@pytest.mark.parametrize(
    ("operators", "cause"),
    [
        (("STRIDED_SLICE a", "PACK b", "SHAPE c"), "fix the batch to 1"),
        (("TILE up", "RESHAPE up"), "use bilinear or transposed convolution"),
        (("QUANTIZE concat",), "use ReLU6 before it"),
        (("MUL norm", "ADD norm"), "put it directly after a convolution"),
        (("REVERSE_V2 mirrored",), "use convolutions, ReLU6"),
    ],
)
def test_stranded_operators_name_their_likely_cause(operators: tuple[str, ...], cause: str) -> None:
    text = Delegation(3, operators, ()).cause()
    assert cause in text
    assert all(name.split(" ")[0] in text for name in operators)


def test_no_partition_at_all_means_a_runtime_without_the_delegate() -> None:
    assert "no XNNPACK delegate" in Delegation(0, ("CONV_2D a",), ()).cause()
