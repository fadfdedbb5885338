"""What looks alive: flames do; lamps, sunsets and vehicles that pass do not, however the camera sees them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules
from edge.detection.flicker import FlickerTracker, patch_change
from edge.detection.zones import Cells
from edge.images import Map

SIZE = 224
MIN_CHANGE = AlarmRules().flicker_threshold


def scene(x: int = 100, y: int = 90, *, gain: float = 1.0, noise: float = 3.0, seed: int = 0) -> Map:
    """A night with a lamp on a post, the camera's noise upon it."""
    light = np.full((SIZE, SIZE), 40.0)
    cv2.rectangle(light, (x - 2, y), (x + 2, SIZE), (20,), -1)
    cv2.circle(light, (x, y), 14, (230,), -1)
    light = cv2.GaussianBlur(light, (0, 0), 3) * gain
    return np.clip(light + np.random.default_rng(seed).normal(0, noise, light.shape), 0, 255).astype(np.uint8)


def lamp_cells(x: int = 100, y: int = 90) -> Cells:
    cells = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(cells, (x, y), 15, (1,), -1)
    return cells


def change(before: Map, after: Map, burned: Cells, burning: Cells | None = None) -> float:
    """With what burned before; it burns still, where nothing else is said."""
    found = patch_change(before, after, burned, burned if burning is None else burning)
    assert found is not None
    return found


def flames(seed: int) -> Map:
    """A picture that has nothing to do with that of another seed."""
    return cv2.resize(np.random.default_rng(seed).integers(0, 256, (24, 24), np.uint8), (SIZE, SIZE)).astype(np.uint8)


def test_a_lamp_looks_the_same() -> None:
    assert change(scene(seed=1), scene(seed=2), lamp_cells()) < MIN_CHANGE / 3


@given(right=st.integers(-7, 7), down=st.integers(-7, 7))
def test_what_only_moves_looks_the_same(right: int, down: int) -> None:
    assert change(scene(seed=1), scene(100 + right, 90 + down, seed=2), lamp_cells()) < MIN_CHANGE / 2


@given(gain=st.floats(0.4, 1.1))
def test_what_only_dims_looks_the_same(gain: float) -> None:
    assert change(scene(seed=1), scene(gain=gain, seed=2), lamp_cells()) < MIN_CHANGE / 2


def test_a_lamp_cut_by_the_border_of_the_frame_looks_the_same() -> None:
    assert change(scene(3, 3, seed=1), scene(5, 3, seed=2), lamp_cells(3, 3)) < MIN_CHANGE / 2


def test_a_patch_without_contrast_has_nothing_that_could_flicker() -> None:
    grey = np.full((SIZE, SIZE), 200, np.uint8)
    assert patch_change(grey, scene(), lamp_cells(), lamp_cells()) == 0


def test_what_becomes_another_picture_is_alive() -> None:
    assert change(flames(1), flames(2), lamp_cells()) > 5 * MIN_CHANGE


def test_what_has_moved_on_is_not_alive_however_it_changed() -> None:
    assert change(flames(1), flames(2), lamp_cells(100), lamp_cells(160)) == 0


@pytest.mark.parametrize(("stays", "alive"), [(9, False), (10, True)])
def test_a_quarter_of_what_burned_has_to_burn_on(stays: int, alive: bool) -> None:
    burned, burning = np.zeros((2, SIZE, SIZE), np.uint8)
    burned[80:120, 80:120] = 1
    burning[80:120, 120 - stays : 160 - stays] = 1
    assert (change(flames(1), flames(2), burned, burning) > 0) == alive


@given(right=st.integers(-10, 10), down=st.integers(-10, 10))
def test_flames_that_lean_over_stay_alive(right: int, down: int) -> None:
    assert change(flames(1), flames(2), lamp_cells(), lamp_cells(100 + right, 90 + down)) > 5 * MIN_CHANGE


def test_what_passes_by_neither_hides_a_smaller_fire_that_stays_nor_brings_a_lamp_to_life() -> None:
    bag, small = lamp_cells(60), np.zeros((SIZE, SIZE), np.uint8)
    small[150:175, 150:175] = 1
    assert bag.sum() > small.sum()
    masks = bag | small, lamp_cells(120) | small
    here = flames(1)
    fire, passing = here.copy(), here.copy()
    fire[140:185, 140:185] = flames(2)[140:185, 140:185]
    passing[60:120, 30:90] = flames(2)[60:120, 30:90]
    assert change(here, fire, *masks) > 5 * MIN_CHANGE
    assert change(here, passing, *masks) < MIN_CHANGE / 3


def test_a_speck_that_stays_does_not_speak_for_what_has_moved_on() -> None:
    bag, speck = lamp_cells(60), np.zeros((SIZE, SIZE), np.uint8)
    speck[150:153, 150:153] = 1
    assert change(flames(1), flames(2), bag | speck, lamp_cells(120) | speck) == 0


def test_where_nothing_or_next_to_nothing_burned_there_is_no_look_to_change() -> None:
    cells = np.zeros((SIZE, SIZE), np.uint8)
    assert patch_change(scene(), scene(), cells, lamp_cells()) is None
    cells[50:53, 50:53] = 1
    assert patch_change(scene(), scene(), cells, lamp_cells()) is None


BYTES = st.binary(min_size=256, max_size=256)


@given(pictures=st.tuples(BYTES, BYTES), masks=st.tuples(BYTES, BYTES))
def test_any_two_pictures_differ_by_a_fraction(pictures: tuple[bytes, bytes], masks: tuple[bytes, bytes]) -> None:
    before, after = (np.frombuffer(data, np.uint8).reshape(16, 16) for data in pictures)
    burned, burning = ((np.frombuffer(data, np.uint8).reshape(16, 16) & 1).astype(np.uint8) for data in masks)
    found = patch_change(before, after, burned, burning)
    assert found is None or 0 <= found <= 1


def test_a_picture_is_compared_with_the_newest_one_at_least_a_fifth_of_a_second_older() -> None:
    looks, cells = FlickerTracker(), lamp_cells()
    lamp, other = scene(seed=1), scene(160, 160)
    assert looks.change(0.0, other, cells) is None
    assert looks.change(0.1, lamp, cells) is None  # nothing is old enough
    assert (looks.change(0.2, lamp, cells) or 0) > MIN_CHANGE  # against 0.0
    assert (looks.change(0.3, lamp, cells) or 0) < MIN_CHANGE  # against 0.1
    assert (looks.change(9.0, lamp, cells) or 0) < MIN_CHANGE  # against 0.3, the newest there is


def test_what_lights_up_has_no_look_of_a_moment_before() -> None:
    looks, dark = FlickerTracker(), np.zeros((SIZE, SIZE), np.uint8)
    looks.change(0.0, dark, dark)
    assert looks.change(0.3, scene(), lamp_cells()) is None


def test_what_burns_now_decides_whether_it_has_moved_on() -> None:
    looks, there = FlickerTracker(), FlickerTracker()
    for seen in looks, there:
        seen.change(0.0, flames(1), lamp_cells(100))
    assert looks.change(0.3, flames(2), lamp_cells(160)) == 0
    assert (there.change(0.3, flames(2), lamp_cells(100)) or 0) > 5 * MIN_CHANGE


def test_a_recording_that_begins_anew_is_not_compared_with_its_end() -> None:
    looks = FlickerTracker()
    looks.change(60.0, scene(), lamp_cells())
    assert looks.change(0.0, scene(), lamp_cells()) is None


def test_a_real_fire_is_alive_and_the_same_fire_on_a_photograph_is_not(videos_dir: Path) -> None:
    capture = cv2.VideoCapture(str(videos_dir / "visifire_housefire_14.avi"))
    greys = []
    for number in range(60):
        frame = capture.read()[1]
        if number % 6 == 0:
            greys.append(cv2.cvtColor(cv2.resize(frame, (SIZE, SIZE)), cv2.COLOR_BGR2GRAY).astype(np.uint8))
    burning = (greys[0] > 180).astype(np.uint8)
    changes = sorted(change(before, after, burning) for before, after in pairwise(greys))
    assert changes[len(changes) // 2] > MIN_CHANGE
    noisy = np.clip(greys[0] + np.random.default_rng(0).normal(0, 3, greys[0].shape), 0, 255).astype(np.uint8)
    assert change(greys[0], noisy, burning) < MIN_CHANGE / 3
