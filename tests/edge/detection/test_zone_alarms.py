"""The alarms of zones: a fire on a border raises one, and what moves away from a fire does not take its alarm along."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules, locate, raised_alarms
from edge.detection.detector import Detector
from edge.detection.tracks import Track
from edge.detection.zones import Zone
from edge.images import Frame
from edge.messages import END, START, FireEvent, Silence
from tests.support.factories import GRID, frame, glowing, make_detector, region

DARK = np.full((240, 320, 3), 30, np.uint8)
DOOR = Zone("door", ((0.6, 0), (1, 0), (1, 1), (0.6, 1)))
STEP_S = 0.1


def changes(detector: Detector, frames: Sequence[Frame], began_s: float = 0.0) -> list[tuple[float, str]]:
    """Return the time and the kind of each start and end."""
    events: list[tuple[float, str]] = []
    for number, rgb in enumerate(frames):
        _, news = detector.process(frame(number + 1, rgb, began_s + number * STEP_S))
        events += [(each.t_s, each.kind) for each in news if isinstance(each, FireEvent) and each.kind in (START, END)]
    return events


def with_jacket(rgb: Frame, left: int) -> Frame:
    """Return a frame with a steady red jacket."""
    rgb = rgb.copy()
    rgb[50:150, left : left + 40] = (240, 60, 20)
    return rgb


def test_a_fire_whose_part_in_a_zone_changes_raises_one_alarm_and_stays_acknowledged() -> None:
    detector = make_detector((DOOR,))
    lefts = [172 if number % 5 else 156 for number in range(100)]  # the zone begins at 192
    frames = [glowing(number, 40, left=left) for number, left in enumerate(lefts)]
    assert [kind for _, kind in changes(detector, frames[:40])] == [START]
    detector.events.acknowledge()
    assert changes(detector, frames[40:], 4.0) == []
    result, _ = detector.process(frame(1, glowing(0, 40, left=156), 10.0))
    assert result.silences == {"door": Silence.ACKNOWLEDGED}


def test_a_fire_that_leaves_a_zone_ends_its_alarm_five_seconds_later() -> None:
    detector = make_detector((DOOR,))
    inside = [glowing(number, 40, left=172) for number in range(30)]
    outside = [glowing(number, 40, left=148) for number in range(70)]
    (_, start), (ended_s, end) = changes(detector, [*inside, *outside])
    assert (start, end) == (START, END)
    assert ended_s == pytest.approx(3 + AlarmRules().off_after_s, abs=2 * STEP_S)


@pytest.mark.parametrize("step", [2, 4])
def test_a_jacket_that_passes_in_front_of_a_flame_does_not_take_its_confirmation_along(step: int) -> None:
    detector = make_detector((DOOR,))
    flame = [glowing(number, 24, left=60) for number in range(40 + 280 // step)]
    frames = [with_jacket(rgb, step * (number - 40)) if number >= 40 else rgb for number, rgb in enumerate(flame)]
    assert changes(detector, frames) == []
    assert [track.confirmed for track in detector.tracks] == [True, False], "the flame and the jacket"


@pytest.mark.parametrize("flame_frames", [10, 30])
def test_an_alarm_ends_five_seconds_after_what_raised_it_turns_out_not_to_be_fire(flame_frames: int) -> None:
    detector = make_detector()
    flame = [glowing(number, 40, left=100) for number in range(flame_frames)]
    jacket = [with_jacket(DARK, min(100 + 14 * number, 280)) for number in range(100)]
    (_, start), (ended_s, end) = changes(detector, [*flame, *jacket])
    assert (start, end) == (START, END)
    assert 0 < ended_s - flame_frames * STEP_S - AlarmRules().off_after_s < 1.5


def test_a_fire_that_moves_keeps_its_alarm_and_raises_that_of_the_next_zone() -> None:
    detector = make_detector((Zone("left", ((0, 0), (0.6, 0), (0.6, 1), (0, 1))), DOOR))
    frames = [glowing(number, 40, left=min(20 + 2 * max(number - 20, 0), 272)) for number in range(200)]
    starts = changes(detector, frames)
    assert [kind for _, kind in starts] == [START, START, END], "the left zone's ends after it was left"


def test_a_fire_whose_picture_shakes_keeps_its_alarm() -> None:
    detector, shake = make_detector(), np.random.default_rng(7)
    shifts = [(0, 0)] * 20 + [tuple(shake.integers(-30, 31, 2).tolist()) for _ in range(200)]
    frames = [
        cv2.warpAffine(glowing(number, 24, left=100), np.array([[1, 0, x], [0, 1, y]], np.float32), (320, 240))
        for number, (x, y) in enumerate(shifts)
    ]
    assert [kind for _, kind in changes(detector, [each.astype(np.uint8) for each in frames])] == [START]


@given(st.lists(st.integers(0, 112), max_size=6), st.integers(1, 30))
def test_a_fire_raises_an_alarm_however_many_zones_divide_the_frame(borders: list[int], width: int) -> None:
    track = Track(1, (), 0.0, 0.0, region(width=width), measured_s=0.0, confirmed=True, at_place_s=0.0)
    zones = {}
    for left, right in pairwise([0, *sorted(borders), 112]):
        zones[f"zone {left}"] = cells = np.zeros(GRID, np.uint8)
        cells[:, left:right] = 1
    assert any(raised_alarms(locate([track], 0.0, zones, AlarmRules()), zones).values())
    assert not any(raised_alarms(locate([track], 0.0, zones, AlarmRules(), frozenset({1})), zones).values())
