"""Flicker: high for flames of any size; low for lamps, signs and passing objects, however the camera sees them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.detection.alarm import MIN_FLICKER
from edge.detection.flicker import COMPARE_S, RecentFrames, flicker_score
from edge.detection.regions import Region, find_regions
from edge.detection.tracks import Sighting
from edge.detection.zones import Cells
from edge.images import Frame

GRID = 112, 112
SIDE = 224  # of a frame: two pixels per cell
THRESHOLD = MIN_FLICKER
LOW = 2 / 3 * MIN_FLICKER


def found(cells: Cells) -> Region:
    """Return the one region of these cells."""
    (region,) = find_regions(cells * np.uint8(250), cells)
    return region


def disc(x: int = 100, y: int = 90, radius: int = 15) -> Region:
    """Return the region of a disc, given in pixels of the frame."""
    cells = np.zeros(GRID, np.uint8)
    cv2.circle(cells, (x // 2, y // 2), radius // 2, (1,), -1)
    return found(cells)


def room() -> Frame:
    """A room in the dark with texture, as a wall of bricks and books has."""
    coarse = np.random.default_rng(5).integers(20, 70, (28, 28, 3), np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def lamp(x: int = 100, y: int = 90) -> Frame:
    """A lamp on a post in the room."""
    light = room()
    cv2.rectangle(light, (x - 2, y), (x + 2, SIDE), (20, 20, 20), -1)
    cv2.circle(light, (x, y), 14, (250, 200, 120), -1)
    return cv2.GaussianBlur(light, (0, 0), 2).astype(np.uint8)


def sensed(light: Frame, seed: int, *, gain: float = 1.0, noise: float = 3.0) -> Frame:
    """Return what a camera makes of the light: gain and sensor noise."""
    added = np.random.default_rng(seed).normal(0, noise, light.shape)
    return np.clip(light * gain + added, 0, 255).astype(np.uint8)


def flames(seed: int, x: int = 100, y: int = 90) -> Frame:
    """Flames in the room, of a shape uncorrelated with that of another seed."""
    light = room()
    texture = np.random.default_rng(seed).integers(60, 256, (5, 5, 1), np.uint8) * np.ones((1, 1, 3))
    light[y - 15 : y + 15, x - 15 : x + 15] = cv2.resize(texture, (30, 30), interpolation=cv2.INTER_LINEAR)
    return light


def score(before: Frame, after: Frame, was: Region | None = None, now: Region | None = None) -> float:
    """Return the flicker score; by default of the disc, which has not moved."""
    was = was or disc()
    return flicker_score(before, was, after, now or was)


steps = st.integers(-8, 8)


@settings(max_examples=10)
@given(right=steps, down=steps)
def test_motion_is_not_flicker(right: int, down: int) -> None:
    moved = lamp(100 + right, 90 + down)
    assert score(sensed(lamp(), 1), sensed(moved, 2), disc(), disc(100 + right, 90 + down)) < LOW


@settings(max_examples=10)
@given(right=steps, down=steps)
def test_a_camera_that_shakes_is_not_flicker(right: int, down: int) -> None:
    shaken = np.roll(lamp(), (down, right), axis=(0, 1))
    assert score(sensed(lamp(), 1), sensed(shaken, 2), disc(), disc(100 + right, 90 + down)) < LOW


@settings(max_examples=10)
@given(gain=st.floats(0.4, 1.0))
def test_a_change_of_exposure_or_a_blinking_sign_is_not_flicker(gain: float) -> None:
    assert score(sensed(lamp(), 1), sensed(lamp(), 2, gain=gain)) < LOW
    dimmed = room()
    dimmed[70:110, 80:120] = (lamp()[70:110, 80:120] * gain).astype(np.uint8)
    assert score(sensed(lamp(), 1), sensed(dimmed, 2)) < LOW


@settings(max_examples=5)
@given(noise=st.floats(0, 10), seed=st.integers(0, 99))
def test_the_noise_of_a_sensor_is_not_flicker(noise: float, seed: int) -> None:
    assert score(sensed(lamp(), seed, noise=noise), sensed(lamp(), seed + 100, noise=noise)) < LOW


@pytest.mark.parametrize("quality", [90, 60, 30])
def test_the_artefacts_of_compression_are_not_flicker(quality: int) -> None:
    frames = []
    for seed, light in enumerate((lamp(), lamp(103, 91))):
        _, data = cv2.imencode(".jpg", sensed(light, seed), [cv2.IMWRITE_JPEG_QUALITY, quality])
        frames.append(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8))
    assert score(frames[0], frames[1], disc(), disc(103, 91)) < LOW


def test_a_lamp_cut_by_the_border_of_the_frame_does_not_flicker() -> None:
    assert score(sensed(lamp(3, 3), 1), sensed(lamp(5, 3), 2), disc(3, 3), disc(5, 3)) < LOW


def test_a_patch_without_contrast_does_not_flicker() -> None:
    white = np.full((SIDE, SIDE, 3), 250, np.uint8)
    assert score(white, np.full_like(white, 150)) == 0


def test_flames_that_change_their_shape_flicker_wherever_they_lean() -> None:
    for right in (-8, 0, 8):
        moved = sensed(flames(2, 100 + right), 2)
        assert score(sensed(flames(1), 1), moved, disc(), disc(100 + right)) > 3 * THRESHOLD


def test_flames_behind_a_camera_that_shakes_still_flicker() -> None:
    shaken = np.roll(flames(2), (4, 6), axis=(0, 1))
    assert score(flames(1), shaken, disc(), disc(106, 94)) > 3 * THRESHOLD


def test_what_happens_beside_a_region_is_not_its_flicker() -> None:
    passing = lamp()
    passing[60:120, 160:220] = 230
    assert score(sensed(lamp(), 1), sensed(passing, 2)) < LOW


def test_a_region_that_changes_like_its_surroundings_does_not_flicker() -> None:
    sea = [
        cv2.resize(np.random.default_rng(seed).integers(60, 140, (60, 60, 3), np.uint8), (SIDE, SIDE)).astype(np.uint8)
        for seed in (1, 2)
    ]
    assert score(sea[0], sea[1]) < score(flames(1), flames(2)) / 2


@pytest.mark.parametrize("height_px", [14, 24, 60])
def test_a_flame_of_a_few_pixels_in_a_720p_frame_flickers_and_its_picture_does_not(height_px: int) -> None:
    pattern = PatternCamera(fps=10)
    wall = np.full((720, 1280, 3), (70, 64, 58), np.uint8)
    cells = np.zeros((224, 224), np.uint8)
    row, column = 100, 150
    rows, columns = max(2, height_px * 224 // 720), max(2, height_px * 224 // 1280)
    cells[row : row + rows + 1, column : column + columns + 1] = 1
    region = found(cells)

    def view(t_s: float, seed: int) -> Frame:
        flame = pattern.flame(t_s)[30:200, 120:260]  # the flame alone
        small = cv2.resize(flame, (height_px * 140 // 170, height_px), interpolation=cv2.INTER_AREA)[..., None]
        frame = wall.copy()
        top, left = row * 720 // 224, column * 1280 // 224
        part = frame[top : top + small.shape[0], left : left + small.shape[1]]
        part[:] = np.clip(part + small * (255, 180, 70), 0, 255)
        around = np.s_[max(0, top - 120) : top + 200, left - 120 : left + 200]  # noise where it is compared
        frame[around] = sensed(frame[around], seed, noise=2)
        return frame

    times_s = [FLAMES_FROM_S + COMPARE_S * number for number in range(6)]
    moving = [view(t_s, seed) for seed, t_s in enumerate(times_s)]
    still = [view(times_s[0], seed) for seed in range(3)]
    assert np.median([score(*pair, region) for pair in pairwise(moving)]) > THRESHOLD
    assert max(score(*pair, region) for pair in pairwise(still)) < LOW


def box_region(left: int, top: int, width: int, height: int) -> Region:
    cells = np.zeros((16, 16), np.uint8)
    cells[min(top, 14) : top + height, min(left, 13) : left + width] = 1
    return found(cells)


BYTES = st.binary(min_size=16 * 16 * 3, max_size=16 * 16 * 3)
corners = st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(2, 16), st.integers(2, 16))


@given(images=st.tuples(BYTES, BYTES), boxes=st.tuples(corners, corners))
def test_the_score_of_any_two_images_is_a_fraction(
    images: tuple[bytes, bytes], boxes: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
) -> None:
    before, after = (np.frombuffer(data, np.uint8).reshape(16, 16, 3) for data in images)
    assert 0 <= score(before, after, *(box_region(*box) for box in boxes)) <= 1


sides = st.one_of(st.integers(1, 40), st.integers(200, 400))


@given(sides, sides, st.tuples(corners, corners), st.integers(0, 99))
@example(4, 4, ((11, 3, 5, 10), (11, 3, 5, 10)), 0)  # patches of 4 x 1 pixels, as OpenCV writes scalars
@example(5, 1, ((0, 5, 10, 11), (0, 5, 10, 11)), 0)
def test_frames_of_any_size_are_measured(
    height: int, width: int, boxes: tuple[tuple[int, int, int, int], tuple[int, int, int, int]], seed: int
) -> None:
    before, after = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    assert 0 <= score(before, after, *(box_region(*box) for box in boxes)) <= 1


class Recent:
    """Recent frames of one region, and the sightings of its track."""

    def __init__(self) -> None:
        self.frames = RecentFrames()
        self.sightings: list[Sighting] = []

    def see(self, t_s: float, light: Frame) -> float | None:
        self.frames.add(t_s, light)
        flicker = self.frames.flicker(self.sightings, disc())
        self.sightings.append(Sighting(t_s, disc()))
        return flicker


def test_a_region_is_compared_with_its_newest_image_at_least_0_2_s_older() -> None:
    recent = Recent()
    assert recent.see(0.0, flames(1)) is None
    assert recent.see(0.1, flames(2)) is None  # none is old enough
    assert (recent.see(0.2, flames(2)) or 0) > THRESHOLD  # against 0.0
    assert recent.see(0.3, flames(2)) == 0  # against 0.1
    assert recent.see(9.0, flames(2)) == 0  # against 0.3, the newest


def test_a_region_missed_in_between_is_compared_with_the_same_place_0_2_s_before() -> None:
    recent = Recent()
    recent.see(0.0, flames(1))
    for number in range(20):
        recent.frames.add(1 + number / 10, flames(2))
    assert recent.see(3.1, flames(2)) == 0
    recent.frames.add(3.2, flames(3))
    recent.frames.add(3.3, flames(3))
    assert (recent.see(3.4, flames(4)) or 0) > THRESHOLD


def test_a_lamp_that_was_just_switched_on_has_no_score() -> None:
    recent = Recent()
    recent.frames.add(0.0, room())
    assert recent.see(0.3, lamp()) is None


@pytest.mark.parametrize("size", [SIDE, SIDE // 2])
def test_a_restarted_recording_or_another_frame_size_begins_again(size: int) -> None:
    recent = Recent()
    recent.see(59.8, lamp())
    recent.see(60.0, lamp())
    t_s = 60.2 if size != SIDE else 0.0
    light = cv2.resize(lamp(), (size, size)).astype(np.uint8)
    assert recent.see(t_s, light) is None
    assert recent.see(t_s + 0.2, light) == 0, "but is compared with its own start"


@pytest.mark.parametrize("fps", [1, 10, 60])
def test_only_the_frames_of_the_last_moment_are_kept(fps: int) -> None:
    frames = RecentFrames()
    for number in range(5 * fps):
        frames.add(number / fps, room())
        assert len(frames._frames) <= COMPARE_S * fps + 2


def test_a_real_fire_flickers_and_a_photograph_of_it_does_not(videos_dir: Path) -> None:
    video = cv2.VideoCapture(str(videos_dir / "visifire_housefire_14.avi"))
    frames = []
    for number in range(60):
        frame = video.read()[1]
        if number % 6 == 0:
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8))
    small = cv2.resize(frames[0], GRID).astype(int)
    red = ((small[..., 0] > 200) & (small[..., 0] - small[..., 2] > 60)).astype(np.uint8)
    fire = find_regions(red * np.uint8(250), red)[0]
    assert np.median([score(before, after, fire) for before, after in pairwise(frames)]) > THRESHOLD
    assert score(sensed(frames[0], 1), sensed(frames[0], 2), fire) < LOW


@pytest.mark.parametrize("fps", [10, 240, 1000])
def test_few_frames_are_kept_however_fast_the_camera(fps: int) -> None:
    frames = RecentFrames()
    for number in range(fps):
        frames.add(number / fps, room())
        assert len(frames._frames) <= 7
    assert frames._frames[0].t_s <= frames._frames[-1].t_s - COMPARE_S
