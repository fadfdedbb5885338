"""Suggested ignored areas: where candidates are frequent and no fire was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from edge.detection.regions import Region
from edge.detection.suggestions import GRID as COARSE
from edge.detection.suggestions import KEEP_HOURS, MIN_CANDIDATES, MIN_HOURS, SAVE_INTERVAL_S, Suggestions
from edge.detection.tracks import Sighting, Track
from edge.detection.zones import cells_inside
from edge.errors import UserError
from tests.support.factories import GRID, NOON, region

ALL = np.ones(GRID, np.uint8)
LAMP = region(48, 48, 8, 12)  # cells 12 to 14 and 12 to 15 of the coarse grid


class Scene:
    """A run in which candidates come and go."""

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        self.now, self.s, self.ids = NOON, 0.0, 0
        self.saved: dict[str, Any] = {} if saved is None else saved
        self.suggestions = Suggestions(self.saved, now=lambda: self.now, clock=lambda: self.s)

    def show(self, seen: Region, count: int = 1, *, seconds: float = 4.0, confirmed: bool = False) -> None:
        for _ in range(count):
            self.ids += 1
            for t_s in (seconds / 2, seconds):
                track = Track(self.ids, (Sighting(t_s, seen),), 0.0, t_s, seen, t_s, confirmed)
                self.suggestions.observe([track], t_s, frozenset())
            self.suggestions.observe([], seconds, frozenset())

    def show_hourly(self, seen: Region, hours: int = MIN_HOURS, count: int = 7) -> None:
        for _ in range(hours):
            self.now += timedelta(hours=1)
            self.s += SAVE_INTERVAL_S
            self.show(seen, count)

    def areas(self) -> tuple[Any, ...]:
        return self.suggestions.areas(ALL)


def test_an_area_with_many_candidates_in_different_hours_is_suggested() -> None:
    scene = Scene()
    scene.show_hourly(LAMP)
    (area,) = scene.areas()
    assert (area.candidates, area.days) == (21, 1)
    inside = cells_inside(area.polygon, *GRID).astype(np.uint8)
    assert LAMP.within(inside) == LAMP.area
    assert inside.sum() <= 1.5 * LAMP.area
    scene.now += timedelta(days=2)
    scene.show(LAMP)
    assert (scene.areas()[0].candidates, scene.areas()[0].days) == (22, 3)


@pytest.mark.parametrize(
    ("hours", "count", "seconds"),
    [(MIN_HOURS - 1, 50, 4.0), (MIN_HOURS, MIN_CANDIDATES // MIN_HOURS, 4.0), (10, 10, 1.0)],
)
def test_few_candidates_few_hours_or_short_ones_suggest_nothing(hours: int, count: int, seconds: float) -> None:
    scene = Scene()
    for _ in range(hours):
        scene.now += timedelta(hours=1)
        scene.show(LAMP, count, seconds=seconds)
    assert scene.areas() == ()


def test_nothing_is_suggested_where_a_fire_was_confirmed_or_all_over_the_frame() -> None:
    scene = Scene()
    scene.show_hourly(LAMP)
    scene.show_hourly(replace(LAMP, left=80))
    scene.show_hourly(region(0, 0, 112, 40))
    assert len(scene.areas()) == 2
    scene.show(LAMP, confirmed=True)
    assert [area.polygon[0][0] > 0.6 for area in scene.areas()] == [True]


def test_a_dismissed_or_ignored_area_is_not_suggested_again_and_counts_survive_a_restart() -> None:
    scene = Scene()
    scene.show_hourly(LAMP)
    scene.show_hourly(replace(LAMP, left=80))
    scene.suggestions.save()
    scene = Scene(json.loads(json.dumps(scene.saved)))
    scene.now += timedelta(hours=6)
    scene.show_hourly(LAMP)
    first, second = scene.areas()
    assert first.candidates > second.candidates == 21
    scene.suggestions.dismiss(first.id)
    with pytest.raises(UserError, match="'gone' is no longer suggested"):
        scene.suggestions.dismiss("gone")
    scene.show_hourly(LAMP)
    assert scene.areas() == (second,)
    assert scene.suggestions.areas(1 - cells_inside(second.polygon, *GRID).astype(np.uint8)) == ()
    assert Scene(scene.saved).areas() == (second,)


def test_old_counts_vanish_and_what_is_saved_stays_small() -> None:
    scene = Scene()
    for hour in range(400):
        scene.now += timedelta(hours=1)
        scene.s += SAVE_INTERVAL_S
        for left in (0, 40, 80):
            scene.show(region(left, 4 * (hour % COARSE), 8, 4))
    assert len(json.dumps(scene.saved)) < 10_000
    scene.now += timedelta(hours=KEEP_HOURS)
    scene.show(LAMP)
    assert len(scene.suggestions._counts) == 1


@pytest.mark.parametrize("count", [[10**40, 0, 0, 3, 3, 5], [480_000, 0, 0, 3, 3, 2**31], [480_000, 0, 0, 3, 3, 0]])
def test_saved_counts_that_are_not_possible_are_forgotten(count: list[int], caplog: pytest.LogCaptureFixture) -> None:
    assert Scene({"candidates": [count] * MIN_HOURS}).areas() == ()
    assert "3 of the saved candidates are damaged and ignored" in caplog.text


def test_a_border_around_the_frame_is_not_suggested_since_its_outline_covers_the_frame() -> None:
    scene, (height, width) = Scene(), GRID
    for side in (
        (0, 0, width, 8), (0, height - 8, width, 8), (0, 0, 8, height), (width - 8, 0, 8, height),
    ):  # fmt: skip
        scene.show_hourly(region(*side), count=10)
    assert scene.areas() == ()
