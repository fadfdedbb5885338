"""The one preprocessing contract: what goes into a model, and what a map's bytes mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.images import Frame
from edge.metrics import Mask
from edge.preprocess import probability_to_u8, to_model_input, to_model_mask

sides = st.integers(1, 64)
seeds = st.integers(0, 2**32 - 1)
HALF = np.float32(0.5)


def random_frame(height: int, width: int, seed: int) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_mask(height: int, width: int, seed: int) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < 0.5


@given(sides, sides, sides, sides, seeds)
def test_a_frame_of_any_size_becomes_uint8_of_the_models_size(
    height: int, width: int, to_height: int, to_width: int, seed: int
) -> None:
    resized = to_model_input(random_frame(height, width, seed), to_height, to_width)
    assert resized.shape == (to_height, to_width, 3)
    assert resized.dtype == np.uint8


@given(sides, sides, sides, sides, st.tuples(*[st.integers(0, 255)] * 3))
def test_a_frame_of_one_colour_keeps_it(
    height: int, width: int, to_height: int, to_width: int, colour: tuple[int, int, int]
) -> None:
    frame = np.full((height, width, 3), colour, np.uint8)
    assert (to_model_input(frame, to_height, to_width) == np.array(colour)).all()


@given(sides, sides, sides, sides, seeds, st.sampled_from([0, 1]))
def test_the_flip_of_a_frame_becomes_the_flip_of_its_input(
    height: int, width: int, to_height: int, to_width: int, seed: int, axis: int
) -> None:
    frame = random_frame(height, width, seed)
    flipped_first = to_model_input(np.ascontiguousarray(np.flip(frame, axis)), to_height, to_width)
    flipped_last = np.flip(to_model_input(frame, to_height, to_width), axis)
    assert np.abs(flipped_first.astype(int) - flipped_last).max() <= 2  # rounding


@given(sides, sides, sides, sides, seeds, st.sampled_from([0, 1]))
def test_the_flip_of_a_mask_becomes_the_flip_of_its_small_mask(
    height: int, width: int, to_height: int, to_width: int, seed: int, axis: int
) -> None:
    mask = random_mask(height, width, seed)
    flipped_first = to_model_mask(np.flip(mask, axis), to_height, to_width)
    flipped_last = np.flip(to_model_mask(mask, to_height, to_width), axis)
    # Where the centre of a cell falls between two pixels, the nearest one is a matter of taste.
    clear = np.ix_(_has_one_nearest(height, to_height), _has_one_nearest(width, to_width))
    assert (flipped_first == flipped_last)[clear].all()


@given(sides, sides, st.integers(1, 4))
def test_a_mask_enlarged_by_a_whole_number_repeats_its_pixels(height: int, width: int, times: int) -> None:
    mask = random_mask(height, width, seed=height)
    enlarged = to_model_mask(mask, height * times, width * times)
    assert enlarged.dtype == np.bool_
    assert (enlarged == mask.repeat(times, axis=0).repeat(times, axis=1)).all()


def test_shrinking_averages_areas() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2, :2] = [[[0, 0, 0], [40, 80, 120]], [[40, 80, 120], [80, 160, 240]]]
    assert to_model_input(frame, 2, 2)[0, 0].tolist() == [40, 80, 120]


@settings(max_examples=20)
@given(st.integers(0, 719), st.integers(0, 1279))
def test_a_flame_of_one_pixel_in_a_720p_frame_is_not_skipped_over(row: int, column: int) -> None:
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[row, column] = 255
    seen = to_model_input(frame, 224, 224)
    burning = np.argwhere(seen.max(axis=2) > 0)
    assert len(burning) > 0
    assert np.abs(burning * [720 / 224, 1280 / 224] - [row, column]).max() < 7


def test_the_input_is_written_into_the_buffer_given() -> None:
    frame = random_frame(48, 64, seed=1)
    buffer = np.zeros((1, 32, 32, 3), np.uint8)  # a model's input tensor
    returned = to_model_input(frame, 32, 32, out=buffer[0])
    assert np.shares_memory(returned, buffer)
    assert (buffer[0] == to_model_input(frame, 32, 32)).all()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((31, 32, 3), np.uint8), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.float32)],
    ids=["size", "channels", "type"],
)
def test_a_buffer_of_another_kind_is_refused_rather_than_left_unwritten(wrong: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"\(32, 32, 3\)"):
        to_model_input(random_frame(48, 64, seed=1), 32, 32, out=wrong)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)],
    ids=["grey", "four channels", "float"],
)
def test_a_frame_of_another_kind_is_refused_with_what_it_is(frame: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=f"expected an RGB uint8 frame .* got {frame.dtype}"):
        to_model_input(frame, 4, 4)


@given(st.floats(0, 1, width=32))
def test_a_map_is_at_least_128_exactly_where_the_probability_is_at_least_a_half(probability: float) -> None:
    p = np.array([[probability]], np.float32)
    assert ((probability_to_u8(p) >= 128) == (p >= 0.5)).all()


def test_the_neighbours_of_a_half_fall_on_their_own_sides() -> None:
    p = np.array([np.nextafter(HALF, np.float32(0)), HALF, np.nextafter(HALF, np.float32(1)), 0, 1], np.float32)
    assert probability_to_u8(p).tolist() == [127, 128, 128, 0, 255]


def _has_one_nearest(size: int, to_size: int) -> npt.NDArray[np.bool_]:
    """For each of `to_size` cells over `size` pixels, whether its centre lies inside a pixel."""
    return np.array([(2 * cell + 1) * size % (2 * to_size) != 0 for cell in range(to_size)])
