"""Quiet places: a false alarm is not raised again there for a time, and everything else is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.detection.memory import HOURS, MAX_PLACES, PlaceMemory, Storage
from edge.detection.place import MAX_GROWTH, MAX_TOLERANCE, MIN_WITHIN
from edge.detection.regions import Region
from edge.detection.tracks import Sighting, Track
from edge.errors import UserError
from edge.messages import END, START
from tests.support.factories import GRID, NOON, event, region

HOUR_S = 3600.0
RED, ORANGE = (230.0, 60.0, 30.0), (250.0, 150.0, 40.0)

colours = st.tuples(*[st.floats(0, 255)] * 3)
regions = st.builds(region, st.integers(0, 90), st.integers(0, 90), st.integers(1, 20), st.integers(1, 20))
waits_s = st.just(0.0) | st.floats(0, 2 * HOUR_S) | st.floats(0, 200 * HOUR_S)
steps_s = st.sampled_from([0.0, 0.0, 2 * HOUR_S, -2 * HOUR_S, 100 * HOUR_S, 1e8, -1e8])
near = st.builds(region, st.integers(44, 56), st.integers(44, 56), st.integers(4, 20), st.integers(4, 20))


class Clocks:
    """A monotonic and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.now, self.s = NOON, 1000.0

    def pass_s(self, seconds: float) -> None:
        self.s += seconds
        self.now += timedelta(seconds=seconds)


def memory(clocks: Clocks, saved: Storage | None = None) -> PlaceMemory:
    return PlaceMemory(saved, now=lambda: clocks.now, clock=lambda: clocks.s)


def track(seen: Region, *, count: int = 5, t_s: float = 1.0) -> Track:
    sightings = tuple(Sighting(t_s - n / 10, seen) for n in reversed(range(count)))
    return Track(1, sightings, sightings[0].t_s, t_s, seen, t_s, confirmed=True, zones={"frame": t_s})


def burn(places: PlaceMemory, fire_id: str, *seen: Region, until: str = END) -> None:
    """Let a fire of these regions begin, last and end."""
    places.observe([], 0.0, [event(START, id_=fire_id)])
    for number, each in enumerate(seen):
        places.observe([track(each, t_s=float(number))], float(number), [])
    if until == END:
        places.observe([], 100.0, [event(END, id_=fire_id)])


def is_quiet(places: PlaceMemory, seen: Region) -> bool:
    return bool(places.quiet([track(seen)], 1.0))


def not_a_fire(places: PlaceMemory, fire_id: str = "fire", at: Region | None = None) -> None:
    burn(places, fire_id, at or region())
    places.remember(fire_id)


@given(st.lists(near, min_size=1, max_size=4), regions | near, colours)
def test_nothing_is_quiet_outside_the_place_or_above_twice_its_size_or_with_another_look(
    was: list[Region], seen: Region, colour: tuple[float, float, float]
) -> None:
    places = memory(Clocks())
    burn(places, "fire", *[replace(each, colour=RED) for each in was])
    places.remember("fire")
    cells = np.zeros(GRID, np.uint8)
    for each in was:
        cells[each.top : each.bottom, each.left : each.right] = 1
    seen = replace(seen, colour=colour)
    if is_quiet(places, seen):
        assert seen.within(cells) >= MIN_WITHIN * seen.area
        assert seen.area <= MAX_GROWTH * max(each.area for each in was)
        assert all(abs(one - other) <= MAX_TOLERANCE for one, other in zip(colour, RED, strict=True))
    assert is_quiet(places, replace(was[0], colour=RED)) or len(was) > 1


@given(st.integers(1, 6), st.lists(st.tuples(waits_s, steps_s, st.booleans()), max_size=8))
@example(1, [(0.0, 2 * HOUR_S, False)])
@example(1, [(0.0, -1e8, False), (2 * HOUR_S, 0.0, False)])
@example(1, [(0.0, -1e8, True), (2 * HOUR_S, 0.0, False)])
def test_a_place_is_never_quiet_for_longer_than_chosen_whatever_the_clocks_do(
    repeats: int, steps: list[tuple[float, float, bool]]
) -> None:
    clocks, saved = Clocks(), dict[str, Any]()
    places = memory(clocks, saved)
    for number in range(repeats):
        not_a_fire(places, f"fire-{number}")
    chosen_s = HOUR_S * HOURS[min(repeats, len(HOURS)) - 1]
    until = clocks.now + timedelta(seconds=chosen_s)
    since_s = clocks.s
    for seconds, step_s, has_restarted in steps:
        clocks.pass_s(seconds)
        clocks.now += timedelta(seconds=step_s)
        if has_restarted:
            clocks.s = since_s = 0.0
            places = memory(clocks, saved)
        if clocks.s - since_s >= chosen_s or clocks.now >= until:
            assert not is_quiet(places, region())
            assert places.statuses() == ()
        elif seconds == step_s == 0:
            assert not has_restarted or is_quiet(places, region()) == (clocks.now < until)


def test_each_repetition_is_quiet_for_longer_even_after_its_time_and_a_restart() -> None:
    clocks, saved = Clocks(), dict[str, Any]()
    for number, hours in enumerate((1, 4, 16, 64, 168, 168)):
        places = memory(clocks, saved)
        assert not is_quiet(places, region())
        not_a_fire(places, f"fire-{number}")
        not_a_fire(places, f"fire-{number}")  # a second press
        (status,) = places.statuses()
        assert (status.id, status.repeats) == (f"fire-{number}", number + 1)
        assert datetime.fromisoformat(status.expires) - clocks.now == timedelta(hours=hours)
        clocks.pass_s(hours * HOUR_S - 1)
        assert is_quiet(memory(clocks, saved), region())
        clocks.pass_s(1)


def test_a_repetition_joins_what_was_seen_each_time_and_nothing_else() -> None:
    places = memory(Clocks())
    not_a_fire(places, "first", region(50, 50, 8, 12))
    not_a_fire(places, "second", region(52, 50, 8, 12))
    (status,) = places.statuses()
    assert (status.id, status.repeats, status.share) == ("second", 2, region().share)
    assert is_quiet(places, region(50, 50, 10, 12))
    assert not is_quiet(places, region(50, 50, 13, 12))


def test_another_place_or_look_is_quiet_for_an_hour_of_its_own() -> None:
    places = memory(Clocks())
    not_a_fire(places, "here", replace(region(), colour=RED))
    not_a_fire(places, "there", replace(region(left=80), colour=RED))
    not_a_fire(places, "other look", replace(region(), colour=ORANGE))
    not_a_fire(places, "half of it", replace(region(left=56), colour=RED))
    assert [each.repeats for each in places.statuses()] == [1, 1, 1, 1]


def test_two_regions_of_a_fire_keep_their_own_looks() -> None:
    places = memory(Clocks())
    lamp, reflection = replace(region(), colour=ORANGE), replace(region(left=80), colour=(90.0, 40.0, 30.0))
    places.observe([], 0.0, [event(START, id_="fire")])
    places.observe([track(lamp, t_s=0.0), track(reflection, t_s=0.0)], 0.0, [])
    places.remember("fire")
    assert is_quiet(places, lamp)
    assert is_quiet(places, reflection)
    assert not is_quiet(places, replace(reflection, colour=ORANGE))
    assert len(places.statuses()[0].polygons) == 2


def test_the_look_may_vary_as_it_did_before() -> None:
    places = memory(Clocks())
    burn(places, "fire", *[replace(region(), colour=(level, 60, 30)) for level in (215, 245)])
    places.remember("fire")
    assert is_quiet(places, replace(region(), colour=(265, 60, 30)))
    assert not is_quiet(places, replace(region(), colour=(230, 90, 30)))


def test_a_region_may_grow_to_twice_its_size_within_the_place_and_no_more() -> None:
    places = memory(Clocks())
    burn(places, "fire", *[region(left=left, width=8) for left in range(40, 60, 4)])
    places.remember("fire")
    assert is_quiet(places, region(left=40, width=16))
    assert not is_quiet(places, region(left=40, width=17))


def test_cells_that_burned_once_in_twenty_results_are_not_part_of_the_place() -> None:
    places = memory(Clocks())
    burn(places, "fire", *[region()] * 19, region(left=80))
    places.remember("fire")
    assert is_quiet(places, region())
    assert not is_quiet(places, region(left=80))


def test_a_place_on_a_coarser_and_a_finer_grid_covers_no_more_than_before() -> None:
    places = memory(Clocks())
    not_a_fire(places, at=region(50, 50, 9, 13))
    half = Region(25, 25, np.ones((6, 4), np.uint8), (56, 56), 24, 0.9)
    assert is_quiet(places, half)
    assert not is_quiet(places, replace(half, cells=np.ones((7, 5), np.uint8), area=35)), "in part outside"
    assert is_quiet(places, Region(100, 100, np.ones((24, 16), np.uint8), (224, 224), 384, 0.9))


def test_a_place_can_be_removed_and_an_unknown_fire_is_refused() -> None:
    places = memory(Clocks())
    burn(places, "ongoing", region(), until="")
    assert places.remember("ongoing").expires == "2026-11-22T13:00:00+00:00"
    assert is_quiet(places, region())
    places.forget("ongoing")
    assert not is_quiet(places, region())
    with pytest.raises(UserError, match="the place of fire 'gone' is not known"):
        places.remember("gone")
    with pytest.raises(UserError, match="no quiet place 'gone'"):
        places.forget("gone")


def test_a_new_place_is_kept_although_all_others_last_longer() -> None:
    clocks = Clocks()
    places = memory(clocks)
    at = [region(left=7 * (number % 10), top=8 * (number // 10), width=6, height=7) for number in range(MAX_PLACES + 1)]
    for number, each in enumerate(at[:-1]):
        for time in range(2):  # twice: for longer than an hour
            not_a_fire(places, f"fire-{number}-{time}", each)
    burn(places, "new", at[-1])
    assert places.remember("new").id == "new"
    assert is_quiet(places, at[-1])
    assert len(places.statuses()) == MAX_PLACES


def test_a_place_that_is_too_large_to_save_is_refused_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    places = memory(Clocks())
    not_a_fire(places, "small")
    burn(places, "large", region(left=0, top=0, width=80, height=80), until="")
    monkeypatch.setattr("edge.detection.memory.MAX_SAVED_LETTERS", 200)
    with pytest.raises(UserError, match="the place of fire 'large' is too large to be saved: add an ignored area"):
        places.remember("large")
    assert [each.id for each in places.statuses()] == ["small"]


def test_places_and_fires_survive_a_restart_bounded_and_damaged_ones_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks, saved = Clocks(), dict[str, Any]()
    places = memory(clocks, saved)
    for number in range(MAX_PLACES + 9):
        clocks.pass_s(1)
        not_a_fire(places, f"fire-{number}", region(left=7 * (number % 10), top=8 * (number // 10), width=6, height=7))
    saved = json.loads(json.dumps(saved))
    assert memory(clocks, saved).statuses() == places.statuses()
    assert len(places.statuses()) == MAX_PLACES
    memory(clocks, saved).remember("fire-58")
    with pytest.raises(UserError):
        memory(clocks, saved).remember("fire-8")
    entries = saved.get("quiet_places")
    (spot,) = entries[0]["spots"]
    wrong: list[dict[str, Any]] = [{"cells": "AA=="}, {"grid": [2, 2]}, {"share": float("nan")}]
    changes: list[dict[str, Any]] = [
        {"spots": []},
        {"until": 3},
        {"hours": 1e9},
        *({"spots": [spot | each]} for each in wrong),
    ]
    saved["quiet_places"] = [7, *(entries[0] | change for change in changes), entries[1]]
    assert [each.id for each in memory(clocks, saved).statuses()] == [entries[1]["id"]]
    assert "7 of the saved quiet places are damaged and ignored" in caplog.text
