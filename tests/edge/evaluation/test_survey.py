"""A survey: flames of several sizes in each cell of a view, and the smallest that raises an alarm there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.pattern import PatternCamera
from edge.config import Config
from edge.detection.views import DetectionSettings
from edge.detection.zones import Zone
from edge.evaluation.flames import Flame, read_flame
from edge.evaluation.survey import Cell, State, Survey, groups, smallest_sizes, spacing, survey
from edge.evaluation.trials import LaidFlame, Scene, Trials
from edge.images import Frame, Map
from edge.messages import Box
from edge.model.segmenter import Segmenter
from tests.support.factories import RedIsFire

GRID, SIZES = (4, 3), (0.02, 0.15, 0.3)
WHOLE_FRAME_ONLY = replace(Config(), detection=DetectionSettings(tiles="1"))
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


class RightIsBlind(RedIsFire):
    """Predicts fire where red saturates, but never in the right half of the frame."""

    def __call__(self, frame: Frame) -> Map:
        probability = super().__call__(np.asarray(frame))
        probability[:, self.width // 2 :] = 0
        return probability


def room(fires_at_s: float = 0.0) -> list[Frame]:
    """Return a second of the test pattern: without its flames, or with them from 5 to 15 s."""
    pattern = PatternCamera(fps=10)
    return [pattern.frame(fires_at_s + number / 10) for number in range(10)]


def scene(config: Config = WHOLE_FRAME_ONLY, frames: Sequence[Frame] | None = None) -> Scene:
    return Scene(frames or room(), config, read_flame(None))


def surveyed(scene: Scene, model: type[RedIsFire] = RedIsFire, *, threads: int = 1) -> Survey:
    return survey(scene, [cast(Segmenter, model()) for _ in range(threads)], SIZES, GRID)


def states(result: Survey) -> list[list[State]]:
    return [[cell.state for cell in row] for row in result.cells]


@pytest.fixture(scope="module")
def plain() -> Survey:
    """The room, seen by a model without blind spots. Shared."""
    return surveyed(scene())


def test_each_cell_has_the_smallest_flame_that_raises_an_alarm_there(plain: Survey) -> None:
    assert {cell for row in plain.cells for cell in row} == {Cell(State.ALARMS, 0.15)}
    assert (plain.median, plain.blind, len(plain.watched)) == (0.15, 0, 12)


def test_cells_in_which_the_model_is_blind_raise_no_alarm() -> None:
    result = surveyed(scene(), RightIsBlind)
    assert states(result) == [[State.ALARMS, State.ALARMS, State.NONE, State.NONE]] * 3
    assert result.blind == 6
    assert {cell.smallest for row in result.cells for cell in row[2:]} == {None}


def test_ignored_areas_and_what_lies_outside_the_zones_are_not_watched() -> None:
    expected = [[State.NOT_WATCHED, State.NOT_WATCHED, State.ALARMS, State.ALARMS]] * 3
    assert states(surveyed(scene(replace(WHOLE_FRAME_ONLY, ignored=(LEFT,))))) == expected
    right = tuple((x + 0.5, y) for x, y in LEFT)
    assert states(surveyed(scene(replace(WHOLE_FRAME_ONLY, zones=(Zone("desk", right),))))) == expected


def test_what_alarms_without_a_flame_is_marked_and_not_tried() -> None:
    found = states(surveyed(scene(frames=room(6.0))))
    assert found[1][2] is State.BY_ITSELF  # the flames of the pattern are right of the middle
    assert [row[0] for row in found] == [State.ALARMS] * 3


def test_a_flame_alone_and_flames_in_other_cells_give_the_same_result() -> None:
    trials = Trials(scene(), cast(Segmenter, RedIsFire()))
    for place in ((0, 0), (2, 1), (3, 2)):
        alone = smallest_sizes([place], GRID, SIZES, trials, threading.Event(), lambda: None)
        assert alone == {place: 0.15}


def test_two_threads_give_what_one_gives(plain: Survey) -> None:
    assert surveyed(scene(), threads=2) == plain


def test_under_infrared_light_flames_are_laid_without_colour() -> None:
    grey = [np.repeat(frame.max(axis=2, keepdims=True), 3, axis=2) for frame in room()]
    flame = LaidFlame((0.5, 0.5), 0.4, 0.0)
    for frames, has_colour in ((grey, False), (room(), True), ([0 * frame for frame in grey], True)):
        lit = scene(frames=frames).lit(3, [flame])
        assert not np.array_equal(lit, frames[3])
        assert bool(np.ptp(lit.astype(int), axis=2).max() > 60) == has_colour


def test_an_infrared_view_is_recognised_before_the_flames_come() -> None:
    # Without colour an alarm needs frames that are recognised as infrared: the model must take grey for fire here.
    class BrightIsFire(RedIsFire):
        def __call__(self, frame: Frame) -> Map:
            return np.where(frame[..., 0] > 200, 240, 10).astype(np.uint8)

    grey = [np.repeat(frame.max(axis=2, keepdims=True), 3, axis=2) for frame in room()]
    assert states(surveyed(scene(frames=grey), BrightIsFire)) == [[State.ALARMS] * 4] * 3


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 5), st.integers(1, 5))
def test_groups_hold_each_cell_once_and_keep_their_distance(columns: int, rows: int, right: int, down: int) -> None:
    places = [(column, row) for row in range(rows) for column in range(columns)]
    parts = list(groups(places, (columns, rows), (right, down)))
    assert sorted(place for part in parts for place in part) == sorted(places)
    for part in parts:
        for one in part:
            assert all(
                abs(one[0] - other[0]) >= right or abs(one[1] - other[1]) >= down for other in part if one != other
            )


class ScriptedTrials:
    """Raises an alarm for flames from a size on, which differs from cell to cell."""

    def __init__(self, least: dict[tuple[int, int], float]) -> None:
        self.least, self.rounds = least, 0

    def alarming(self, flames: Sequence[LaidFlame]) -> set[Box]:
        self.rounds += 1
        places = {(flame.centre[0], flame.centre[1]): flame for flame in flames}
        return {(*centre, 0, 0) for centre, flame in places.items() if flame.size >= self.least[self.place(flame)]}

    def place(self, flame: LaidFlame) -> tuple[int, int]:
        return int(flame.centre[0] * 4), int(flame.centre[1] * 3)

    def is_seen(self, flame: LaidFlame, boxes: Iterable[Box]) -> bool:
        return (*flame.centre, 0, 0) in set(boxes)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(1, 60), min_size=12, max_size=12),
)
def test_the_search_finds_the_smallest_size_of_each_cell_in_few_rounds(percent: list[int], least: list[int]) -> None:
    sizes, settled = sorted(percent), []
    places = [(column, row) for row in range(3) for column in range(4)]
    wanted = dict(zip(places, map(float, least), strict=True))
    trials = ScriptedTrials(wanted)
    found = smallest_sizes(places, GRID, sizes, cast(Any, trials), threading.Event(), lambda: settled.append(1))
    assert found == {place: min((size for size in sizes if size >= wanted[place]), default=None) for place in places}
    assert trials.rounds <= 3
    assert len(settled) == len(places)


def test_a_search_that_is_stopped_ends_without_another_trial() -> None:
    stopped, trials = threading.Event(), ScriptedTrials({})
    stopped.set()
    smallest_sizes([(0, 0)], GRID, SIZES, cast(Any, trials), stopped, lambda: None)
    assert trials.rounds == 0


def test_large_flames_are_laid_further_apart_than_small_ones() -> None:
    wide = cast(Flame, SimpleNamespace(at=lambda _: np.zeros((100, 160, 3), np.uint8)))
    view = Scene([np.zeros((720, 1280, 3), np.uint8)], Config(), wide)
    assert spacing(view, (0.02, 0.2), (12, 8)) == (3, 3)
    assert spacing(view, (0.5,), (12, 8)) == (8, 7)
    assert spacing(view, (0.02,), (12, 8)) == (3, 3)


def test_a_trial_is_long_enough_for_the_alarm_rules() -> None:
    slow = replace(WHOLE_FRAME_ONLY, source=replace(Config().source, fps=1.0))
    patient = replace(WHOLE_FRAME_ONLY, alarm=replace(Config().alarm, on_s=10.0))
    assert [scene(config).trial_frames for config in (WHOLE_FRAME_ONLY, slow, patient)] == [20, 7, 112]
