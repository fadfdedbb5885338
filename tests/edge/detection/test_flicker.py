"""Flicker: high for flames; low for lamps, sunsets and passing vehicles, however the camera sees them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules
from edge.detection.flicker import FlickerTracker, flicker_score
from edge.detection.zones import Cells
from edge.images import Map

SIZE = 224
THRESHOLD = AlarmRules().flicker_threshold


def lamp(x: int = 100, y: int = 90, *, gain: float = 1.0, seed: int = 0) -> Map:
    """A lamp on a post at night, with sensor noise."""
    light = np.full((SIZE, SIZE), 40.0)
    cv2.rectangle(light, (x - 2, y), (x + 2, SIZE), (20,), -1)
    cv2.circle(light, (x, y), 14, (230,), -1)
    light = cv2.GaussianBlur(light, (0, 0), 3) * gain
    return np.clip(light + np.random.default_rng(seed).normal(0, 3, light.shape), 0, 255).astype(np.uint8)


def disc(x: int = 100, y: int = 90) -> Cells:
    """Fire cells around a point."""
    cells = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(cells, (x, y), 15, (1,), -1)
    return cells


def square(left: int, top: int, size: int) -> Cells:
    cells = np.zeros((SIZE, SIZE), np.uint8)
    cells[top : top + size, left : left + size] = 1
    return cells


def flames(seed: int) -> Map:
    """A texture uncorrelated with that of another seed."""
    return cv2.resize(np.random.default_rng(seed).integers(0, 256, (24, 24), np.uint8), (SIZE, SIZE)).astype(np.uint8)


def score(before: Map, after: Map, fire_before: Cells, fire_after: Cells | None = None) -> float:
    """The flicker score; by default the same cells are still fire."""
    flicker = flicker_score(before, after, fire_before, fire_before if fire_after is None else fire_after)
    assert flicker is not None
    return flicker


@settings(max_examples=10)
@given(right=st.integers(-7, 7), down=st.integers(-7, 7))
def test_motion_is_not_flicker(right: int, down: int) -> None:
    assert score(lamp(seed=1), lamp(100 + right, 90 + down, seed=2), disc()) < THRESHOLD / 2


@settings(max_examples=10)
@given(gain=st.floats(0.4, 1.1))
def test_a_change_of_exposure_is_not_flicker(gain: float) -> None:
    assert score(lamp(seed=1), lamp(gain=gain, seed=2), disc()) < THRESHOLD / 2


def test_a_lamp_cut_by_the_border_of_the_frame_does_not_flicker() -> None:
    assert score(lamp(3, 3, seed=1), lamp(5, 3, seed=2), disc(3, 3)) < THRESHOLD / 2


def test_a_patch_without_contrast_does_not_flicker() -> None:
    noise = np.random.default_rng(0).normal(200, 1, (2, SIZE, SIZE)).round().astype(np.uint8)
    assert score(noise[0], noise[1], disc()) == 0, "sensor noise never correlates"
    assert score(flames(1), flames(2), disc()) > 0


def test_a_different_image_flickers() -> None:
    assert score(flames(1), flames(2), disc()) > 5 * THRESHOLD


def test_a_region_that_moved_on_does_not_flicker_however_it_changed() -> None:
    assert score(flames(1), flames(2), disc(100), disc(160)) == 0


@pytest.mark.parametrize(("columns", "flickers"), [(9, False), (10, True)])
def test_a_quarter_of_the_region_has_to_persist(columns: int, flickers: bool) -> None:
    before, after = square(80, 80, 40), square(120 - columns, 80, 40)
    assert (score(flames(1), flames(2), before, after) > 0) == flickers


@settings(max_examples=10)
@given(right=st.integers(-10, 10), down=st.integers(-10, 10))
def test_leaning_flames_flicker(right: int, down: int) -> None:
    assert score(flames(1), flames(2), disc(), disc(100 + right, 90 + down)) > 5 * THRESHOLD


def test_a_passing_object_neither_hides_a_smaller_fire_nor_makes_a_lamp_flicker() -> None:
    bag, small = disc(60), square(150, 150, 25)
    assert bag.sum() > small.sum()
    masks = bag | small, disc(120) | small
    before = flames(1)
    fire, passing = before.copy(), before.copy()
    fire[140:185, 140:185] = flames(2)[140:185, 140:185]
    passing[60:120, 30:90] = flames(2)[60:120, 30:90]
    assert score(before, fire, *masks) > 5 * THRESHOLD
    assert score(before, passing, *masks) < THRESHOLD / 3


def test_a_persisting_speck_does_not_count_for_a_region_that_moved_on() -> None:
    bag, speck = disc(60), square(150, 150, 3)
    assert score(flames(1), flames(2), bag | speck, disc(120) | speck) == 0


@pytest.mark.parametrize("size", [0, 3])
def test_without_a_region_of_some_size_there_is_no_score(size: int) -> None:
    assert flicker_score(lamp(), lamp(), square(50, 50, size), disc()) is None


BYTES = st.binary(min_size=256, max_size=256)


@given(images=st.tuples(BYTES, BYTES), masks=st.tuples(BYTES, BYTES))
def test_the_score_of_any_two_images_is_a_fraction(images: tuple[bytes, bytes], masks: tuple[bytes, bytes]) -> None:
    before, after = (np.frombuffer(data, np.uint8).reshape(16, 16) for data in images)
    fire_before, fire_after = ((np.frombuffer(data, np.uint8).reshape(16, 16) & 1).astype(np.uint8) for data in masks)
    flicker = flicker_score(before, after, fire_before, fire_after)
    assert flicker is None or 0 <= flicker <= 1


def test_an_image_is_compared_with_the_newest_one_at_least_0_2_s_older() -> None:
    tracker, cells = FlickerTracker(), disc()
    assert tracker.update(0.0, lamp(160, 160), cells) is None
    assert tracker.update(0.1, lamp(seed=1), cells) is None  # none is old enough
    assert (tracker.update(0.2, lamp(seed=1), cells) or 0) > THRESHOLD  # against 0.0
    assert (tracker.update(0.3, lamp(seed=1), cells) or 0) < THRESHOLD  # against 0.1
    assert (tracker.update(9.0, lamp(seed=1), cells) or 0) < THRESHOLD  # against 0.3, the newest


def test_a_lamp_that_was_just_switched_on_has_no_score() -> None:
    tracker, dark = FlickerTracker(), np.zeros((SIZE, SIZE), np.uint8)
    tracker.update(0.0, dark, dark)
    assert tracker.update(0.3, lamp(), disc()) is None


def test_a_restarted_recording_is_not_compared_with_its_end() -> None:
    tracker = FlickerTracker()
    tracker.update(59.8, lamp(), disc())
    tracker.update(60.0, lamp(), disc())
    assert tracker.update(0.0, lamp(), disc()) is None
    flicker = tracker.update(0.2, lamp(seed=1), disc())
    assert flicker is not None, "but with its start"
    assert flicker < THRESHOLD


def test_a_real_fire_flickers_and_a_photograph_of_it_does_not(videos_dir: Path) -> None:
    video = cv2.VideoCapture(str(videos_dir / "visifire_housefire_14.avi"))
    greys = []
    for number in range(60):
        frame = video.read()[1]
        if number % 6 == 0:
            greys.append(cv2.cvtColor(cv2.resize(frame, (SIZE, SIZE)), cv2.COLOR_BGR2GRAY).astype(np.uint8))
    fire = (greys[0] > 180).astype(np.uint8)
    assert np.median([score(before, after, fire) for before, after in pairwise(greys)]) > THRESHOLD
    noisy = np.clip(greys[0] + np.random.default_rng(0).normal(0, 3, greys[0].shape), 0, 255).astype(np.uint8)
    assert score(greys[0], noisy, fire) < THRESHOLD / 3
