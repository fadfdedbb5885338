"""The preprocessing contract: the model input, and the meaning of a map's bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.images import Frame, Mask
from edge.model.preprocess import probability_to_u8, to_model_input, to_model_mask

sides = st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)
HALF = np.float32(0.5)
# One halving and two, none, odd sides, and one very long side.
CAMERA_SIZES = [(360, 640), (540, 960), (240, 320), (300, 400), (126, 224), (361, 641), (250, 1000)]  # for 112 px


def random_frame(height: int, width: int, seed: int) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_frame(height: int, width: int, seed: int) -> Frame:
    """An image as from a lens: no detail as fine as a model pixel."""
    frame = random_frame(5, 5, seed)
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)


def area_average(frame: Frame, to_height: int, to_width: int) -> npt.NDArray[np.floating]:
    """The exact average over each cell."""
    rows, columns = _weights(frame.shape[0], to_height), _weights(frame.shape[1], to_width)
    return np.moveaxis(rows @ np.moveaxis(frame.astype(np.float32), 2, 0) @ columns.T, 0, 2)


def random_mask(height: int, width: int, seed: int) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < 0.5


@given(sides, sides, sides, sides, st.tuples(*[st.integers(0, 255)] * 3))
def test_a_uniform_frame_of_any_size_becomes_uint8_of_its_colour_at_model_size(
    height: int, width: int, to_height: int, to_width: int, colour: tuple[int, int, int]
) -> None:
    resized = to_model_input(np.full((height, width, 3), colour, np.uint8), to_height, to_width)
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, np.broadcast_to(colour, (to_height, to_width, 3)))


@given(sides, sides, sides, sides, seeds, st.sampled_from([0, 1]))
def test_a_flipped_frame_gives_the_flipped_input(
    height: int, width: int, to_height: int, to_width: int, seed: int, axis: int
) -> None:
    frame = random_frame(height, width, seed)
    flipped_first = to_model_input(np.ascontiguousarray(np.flip(frame, axis)), to_height, to_width)
    flipped_last = np.flip(to_model_input(frame, to_height, to_width), axis)
    assert np.abs(flipped_first.astype(int) - flipped_last).max() <= 1  # rounding


@given(sides, sides, sides, sides, seeds, st.sampled_from([0, 1]))
def test_a_flipped_mask_gives_the_flipped_model_mask(
    height: int, width: int, to_height: int, to_width: int, seed: int, axis: int
) -> None:
    mask = random_mask(height, width, seed)
    flipped_first = to_model_mask(np.flip(mask, axis), to_height, to_width)
    flipped_last = np.flip(to_model_mask(mask, to_height, to_width), axis)
    # A centre between two pixels has two nearest ones.
    clear = np.ix_(_has_one_nearest(height, to_height), _has_one_nearest(width, to_width))
    assert (flipped_first == flipped_last)[clear].all()


@given(sides, sides, st.integers(1, 4))
def test_a_mask_enlarged_by_an_integer_repeats_its_pixels(height: int, width: int, times: int) -> None:
    mask = random_mask(height, width, seed=height)
    enlarged = to_model_mask(mask, height * times, width * times)
    assert enlarged.dtype == np.bool_
    assert (enlarged == mask.repeat(times, axis=0).repeat(times, axis=1)).all()


def test_shrinking_averages_areas() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2, :2] = [[[0, 0, 0], [40, 80, 120]], [[40, 80, 120], [80, 160, 240]]]
    assert to_model_input(frame, 2, 2)[0, 0].tolist() == [40, 80, 120]


@given(sides, sides, st.booleans(), seeds, st.data())
def test_frames_that_shrink_to_more_than_half_are_averaged_exactly(
    to_height: int, to_width: int, is_height: bool, seed: int, data: st.DataObject
) -> None:
    max_height, max_width = (2 * to_height - 1, 4 * to_width) if is_height else (4 * to_height, 2 * to_width - 1)
    height, width = data.draw(st.integers(to_height, max_height)), data.draw(st.integers(to_width, max_width))
    frame = random_frame(height, width, seed)
    error = to_model_input(frame, to_height, to_width) - area_average(frame, to_height, to_width)
    assert np.abs(error).max() < 1


@pytest.mark.parametrize(("height", "width"), CAMERA_SIZES)
def test_a_camera_frame_approximates_its_area_average(height: int, width: int) -> None:
    frame = smooth_frame(height, width, seed=0)
    error = to_model_input(frame, 112, 112) - area_average(frame, 112, 112)
    assert np.abs(error).max() < 3
    assert np.abs(error).mean() < 0.6


@pytest.mark.parametrize(("height", "width"), CAMERA_SIZES)
def test_a_pixel_grid_becomes_uniform_grey(height: int, width: int) -> None:
    frame = np.zeros((height, width, 3), np.uint8)
    frame[::2, ::2] = 255  # a quarter of the pixels
    error = to_model_input(frame, 112, 112) - area_average(frame, 112, 112)
    assert abs(error.mean()) < 1
    assert np.abs(error).max() < 32  # sampling single pixels would err by up to 191


@given(st.data(), st.sampled_from(CAMERA_SIZES))
def test_a_flame_of_one_pixel_stays_visible(data: st.DataObject, size: tuple[int, int]) -> None:
    height, width = size
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[row, column] = 255
    lit = np.argwhere(to_model_input(frame, 112, 112).max(axis=2) > 0)
    assert len(lit) > 0
    scale = np.array([height, width]) / 112
    assert (np.abs((lit + 0.5) * scale - [row, column]) < 2 * scale).all()


def test_threads_do_not_disturb_each_other() -> None:
    frames = [random_frame(480 + 2 * index, 640, seed=index) for index in range(16)]
    expected = [to_model_input(frame, 64, 64) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda frame: to_model_input(frame, 64, 64), frames * 4))
    assert all(np.array_equal(result, expected[index % 16]) for index, result in enumerate(results))


def test_the_next_frame_does_not_overwrite_the_input() -> None:
    first = to_model_input(random_frame(720, 1280, seed=1), 224, 224)
    copy = first.copy()
    to_model_input(random_frame(720, 1280, seed=2), 224, 224)
    assert np.array_equal(first, copy)


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (96, 64), (48, 64), (16, 20), (32, 32)])
def test_the_input_is_written_into_the_buffer(height: int, width: int) -> None:
    frame = random_frame(height, width, seed=1)
    buffer = np.zeros((1, 32, 32, 3), np.uint8)  # a model's input tensor
    returned = to_model_input(frame, 32, 32, out=buffer[0])
    assert np.shares_memory(returned, buffer)
    assert (buffer[0] == to_model_input(frame, 32, 32)).all()


@pytest.mark.parametrize(("shape", "dtype"), [((32, 32), "u1"), ((32, 32, 4), "u1"), ((32, 32, 3), "f4")])
def test_a_frame_or_buffer_of_another_shape_or_dtype_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    wrong: npt.NDArray[Any] = np.zeros(shape, dtype)
    with pytest.raises(ValueError, match=f"expected an RGB uint8 frame .* got {wrong.dtype}"):
        to_model_input(wrong, 4, 4)
    with pytest.raises(ValueError, match=r"expected a uint8 buffer of shape \(32, 32, 3\)"):
        to_model_input(random_frame(48, 64, seed=1), 32, 32, out=wrong)


@given(st.floats(0, 1, width=32))
def test_a_map_is_at_least_128_exactly_from_probability_one_half(probability: float) -> None:
    p = np.array([[probability]], np.float32)
    assert ((probability_to_u8(p) >= 128) == (p >= 0.5)).all()


def test_the_float_neighbours_of_one_half_round_to_their_sides() -> None:
    p = np.array([np.nextafter(HALF, np.float32(0)), HALF, np.nextafter(HALF, np.float32(1)), 0, 1], np.float32)
    assert probability_to_u8(p).tolist() == [127, 128, 128, 0, 255]


def _has_one_nearest(size: int, to_size: int) -> npt.NDArray[np.bool_]:
    """For each of `to_size` cells over `size` pixels, whether its centre is inside a pixel."""
    return np.array([(2 * cell + 1) * size % (2 * to_size) != 0 for cell in range(to_size)])


def _weights(size: int, to_size: int) -> npt.NDArray[np.float32]:
    """The weight of each pixel in each cell, shape (to_size, size)."""
    edges = np.arange(to_size + 1)[:, None] * size / to_size
    pixels = np.arange(size)
    covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.clip(covered, 0, None) * to_size / size).astype(np.float32)
