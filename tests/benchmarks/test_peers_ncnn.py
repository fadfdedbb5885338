"""The int8 network written for ncnn: the format its kernels read, and scales of least error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.conversions.ncnn_float import with_pixel_shuffles
from benchmarks.peers.conversions.ncnn_int8 import (
    INT8_TAG,
    LARGEST,
    Histogram,
    Layer,
    handed_on,
    read,
    weight_scales,
    write,
)

# in -> a -> b -> split -> c and an addition -> d
PARAM = """7767517
6 7
Input in0 0 1 in0
Convolution a 1 1 in0 1 0=2 1=1 11=1 5=1 6=6 9=3 -23310=2,0.0,6.0
ConvolutionDepthWise b 1 1 1 2 0=2 1=1 11=1 5=1 6=2 7=2
Split s 1 2 2 3 4
Convolution c 1 1 3 5 0=2 1=1 11=1 5=0 6=4
BinaryOp add 2 1 4 5 out0 0=0
"""
SCALES = {"in0": 0.5, "1": 21.0, "3": 10.0}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Two convolutions of plain weights and biases, one without a bias."""
    param = tmp_path / "float.param"
    param.write_text(PARAM)
    data = b""
    for weights, bias in (([1, -2, 3, 4, 5, -8], [0.5, 1.5]), ([2, -4], [7, 8]), ([1, 2, 3, 4], [])):
        data += bytes(4) + np.array([*weights, *bias], np.float32).tobytes()
    param.with_suffix(".bin").write_bytes(data)
    return param


def test_weights_and_biases_are_read_as_they_lie_in_the_file(network: Path) -> None:
    layers = {layer.name: layer for layer in read(network)}
    np.testing.assert_array_equal(layers["a"].weights, [[1, -2, 3], [4, 5, -8]])
    np.testing.assert_array_equal(layers["a"].bias, [0.5, 1.5])
    np.testing.assert_array_equal(layers["b"].weights, [[2], [-4]])
    assert layers["c"].bias is None
    assert layers["s"].outputs == ["3", "4"]


def test_a_file_with_other_layers_weights_is_refused(network: Path) -> None:
    with network.with_suffix(".bin").open("ab") as file:
        file.write(bytes(4))
    with pytest.raises(ValueError, match="layers that are no convolutions"):
        read(network)


def test_half_precision_weights_are_refused(network: Path) -> None:
    data = network.with_suffix(".bin").read_bytes()
    network.with_suffix(".bin").write_bytes(0x01306B47.to_bytes(4, "little") + data[4:])
    with pytest.raises(ValueError, match="a are not plain float32"):
        read(network)


def test_int8_is_handed_on_only_where_convolutions_alone_read_it(network: Path) -> None:
    # b is read by the addition too, and c by it alone.
    assert handed_on(read(network)) == {"a": "1"}


def test_the_int8_file_holds_weights_then_bias_then_scales_of_each_convolution(network: Path, tmp_path: Path) -> None:
    layers = read(network)
    target = tmp_path / "int8.param"
    write(layers, SCALES, target)
    lines = target.read_text().splitlines()
    assert lines[:2] == ["7767517", "6 7"]
    terms = {line.split()[1]: line.split()[-1] for line in lines[2:]}
    assert (terms["a"], terms["b"], terms["c"]) == ("8=102", "8=1", "8=2")
    tag = INT8_TAG.to_bytes(4, "little")
    expected = tag + np.array([42, -85, 127, 64, 79, -127, 0, 0], np.int8).tobytes()  # padded to four bytes
    expected += np.array([0.5, 1.5, 127 / 3, 127 / 8, 0.5, 21], np.float32).tobytes()
    expected += tag + np.array([127, -127, 0, 0], np.int8).tobytes()
    expected += np.array([7, 8, 127 / 2, 127 / 4, 21], np.float32).tobytes()
    expected += tag + np.array([64, 127, 95, 127], np.int8).tobytes()
    expected += np.array([127 / 2, 127 / 4, 10], np.float32).tobytes()
    assert target.with_suffix(".bin").read_bytes() == expected


def test_full_convolutions_of_three_by_three_keep_room_for_winograds_transform() -> None:
    weights = np.full((1, 9), 2, np.float32)
    full = Layer("Convolution", "x", ["1"], ["2"], {"1": "3", "11": "3", "3": "1"}, weights)
    assert weight_scales(full)[0] == pytest.approx(31 / 2)
    strided = Layer("Convolution", "x", ["1"], ["2"], {"1": "3", "11": "3", "3": "2", "13": "2"}, weights)
    assert weight_scales(strided)[0] == pytest.approx(LARGEST / 2)


def test_a_channel_without_weights_divides_nothing_by_zero() -> None:
    layer = Layer("Convolution", "x", ["1"], ["2"], {"1": "1"}, np.zeros((2, 3), np.float32))
    assert np.isfinite(weight_scales(layer)).all()


@given(st.floats(0.01, 1e3))
def test_evenly_spread_values_keep_nearly_all_of_their_range(largest: float) -> None:
    histogram = Histogram()
    histogram.add(np.linspace(-largest, largest, 20001, dtype=np.float32))
    assert LARGEST / histogram.scale() == pytest.approx(largest, rel=0.02)


def test_a_single_outlier_is_clipped_for_the_sake_of_the_many() -> None:
    histogram = Histogram()
    histogram.add(np.append(np.random.default_rng(0).normal(size=200_000), 20).astype(np.float32))
    assert LARGEST / histogram.scale() < 15


@given(st.permutations([0.1, 0.9, 3.0, 17.0]))
def test_the_order_of_the_frames_does_not_matter(largest: list[float]) -> None:
    ordered, shuffled = Histogram(), Histogram()
    for histogram, values in ((ordered, sorted(largest)), (shuffled, largest)):
        for value in values:
            histogram.add(np.linspace(0, value, 5000, dtype=np.float32))
    assert ordered.scale() == pytest.approx(shuffled.scale(), rel=0.02)


def test_a_blob_that_is_always_zero_has_a_scale_too() -> None:
    histogram = Histogram()
    histogram.add(np.zeros(100, np.float32))
    assert np.isfinite(histogram.scale())


DESCRIBED = "Input in 0 1 0\nDepthToSpace d2s_1 1 1 0 1 blocksize=2 #0=(1,4,8,8)f32\n"


def test_depth_to_space_gets_the_name_that_ncnn_knows_and_its_block() -> None:
    param = "7767517\n2 2\nInput in0 0 1 in0\nDepthToSpace             d2s_1         1 1 in0 out0\n"
    expected = "7767517\n2 2\nInput in0 0 1 in0\nPixelShuffle d2s_1 1 1 in0 out0 0=2 1=1\n"
    assert with_pixel_shuffles(param, DESCRIBED) == expected


def test_a_network_without_depth_to_space_stays_as_it_is() -> None:
    assert with_pixel_shuffles(PARAM, DESCRIBED) == PARAM


def test_a_block_of_unknown_size_is_refused() -> None:
    with pytest.raises(RuntimeError, match="how large the blocks of other are"):
        with_pixel_shuffles("DepthToSpace other 1 1 in0 out0\n", DESCRIBED)


def test_blocks_in_another_order_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"TensorFlow's order, got DepthToSpace .*mode=CRD"):
        with_pixel_shuffles(PARAM, DESCRIBED.replace("blocksize=2", "blocksize=2 mode=CRD"))
