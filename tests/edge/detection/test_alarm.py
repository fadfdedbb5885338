"""Alarms over time: which tracks are fire, when a zone's alarm is raised, how long it stays, when it is cleared."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import MIN_FLICKER, AlarmRules, confirm, evidence, fire_score, is_fire, locate, raised_alarms
from edge.detection.regions import Region
from edge.detection.tracks import Sighting, Track, follow
from edge.detection.zones import Cells
from tests.support.factories import GRID, region

RULES = AlarmRules(on_results=3, of_results=5, on_s=1.0, min_score=0.75, off_after_s=2.0, memory_s=30.0)
STEP_S = 0.5
FLAME, WEAK, STEADY = 0.3, 1.2 * MIN_FLICKER, MIN_FLICKER / 3  # flicker
EVERYWHERE = np.ones(GRID, np.uint8)


@dataclass(frozen=True)
class Seen:
    """What one frame shows of a fire; nothing without a region."""

    region: Region | None
    flicker: float | None = FLAME


FIRE, NOTHING = Seen(region()), Seen(None)


def zone(left: int, right: int) -> Cells:
    """Return the columns of the grid from `left` to `right`."""
    cells = np.zeros(GRID, np.uint8)
    cells[:, left:right] = 1
    return cells


def after_each(
    frames: Iterable[Seen],
    rules: AlarmRules = RULES,
    cells: Cells = EVERYWHERE,
    *,
    times_s: Iterable[float] | None = None,
    infrared: bool = False,
) -> list[tuple[Track, ...]]:
    """Return the tracks after each frame, half a second apart unless `times_s` says otherwise."""
    tracks: tuple[Track, ...] = ()
    ids = itertools.count(1)
    history = []
    for t_s, seen in zip(times_s or itertools.count(step=STEP_S), frames, strict=False):
        tracks = follow(
            tracks,
            t_s,
            [seen.region] if seen.region else [],
            next_id=lambda: next(ids),
            measure=lambda *_, flicker=seen.flicker: flicker,
            keep_s=rules.off_after_s,
        )
        tracks = confirm(tracks, t_s, rules, infrared=infrared)
        tracks = locate(tracks, t_s, {"zone": cells}, rules)
        history.append(tracks)
    return history


def alarms(frames: Iterable[Seen], rules: AlarmRules = RULES, cells: Cells = EVERYWHERE, **options: Any) -> list[bool]:
    """Return whether the alarm of a zone is raised after each frame."""
    return [raised_alarms(tracks, ["zone"])["zone"] for tracks in after_each(frames, rules, cells, **options)]


def test_it_is_raised_by_the_third_of_five_results() -> None:
    assert alarms([FIRE, NOTHING, FIRE, NOTHING, FIRE]) == [False, False, False, False, True]


def test_two_of_five_results_are_never_enough() -> None:
    assert not any(alarms([FIRE, FIRE, NOTHING, NOTHING, NOTHING] * 20))


def test_it_is_raised_only_after_its_minimum_time_however_fast_the_camera() -> None:
    raised = alarms([FIRE] * 40, times_s=[n * 0.05 for n in range(40)])
    assert raised.index(True) * 0.05 == pytest.approx(RULES.on_s)


def test_over_a_longer_time_the_same_fraction_of_results_is_needed() -> None:
    half = [FIRE, NOTHING] * 40  # half of them, where 3 of 5 are needed
    assert not any(alarms(half, replace(RULES, on_s=2.0), times_s=[n * 0.05 for n in range(80)]))


def test_it_is_cleared_two_seconds_after_the_fire_was_last_seen() -> None:
    raised = alarms([FIRE] * 5 + [NOTHING] * 8)
    assert raised[2:] == [True] * 7 + [False] * 4  # last seen at 2.0 s


def test_one_sighting_restarts_the_clearing_time() -> None:
    assert all(alarms(([FIRE] * 3 + [NOTHING] * 4) * 3)[2:])


def test_a_fire_that_was_cleared_needs_all_its_evidence_again() -> None:
    raised = alarms([FIRE] * 3 + [NOTHING] * 6 + [FIRE] * 3)
    assert raised[2] and not raised[9] and not raised[10] and raised[11]


def test_a_steady_region_raises_an_alarm_only_without_the_flicker_rule() -> None:
    frames = [Seen(region(), STEADY)] * 50
    assert not any(alarms(frames))
    assert any(alarms(frames, replace(RULES, require_flicker=False)))


def test_a_region_that_was_never_compared_raises_no_alarm() -> None:
    assert not any(alarms([Seen(region(), None)] * 50))


def test_single_camera_jumps_are_not_flicker() -> None:
    assert not any(alarms(Seen(region(), STEADY if number % 5 else 1.0) for number in range(30)))


def test_a_raised_alarm_needs_no_flicker_to_stay() -> None:
    assert alarms(Seen(region(), FLAME if number < 5 else STEADY) for number in range(40))[-1]


def test_a_region_that_flickers_little_needs_a_high_probability() -> None:
    assert not any(alarms([Seen(region(probability=0.7), WEAK)] * 50))
    assert any(alarms([Seen(region(probability=0.95), WEAK)] * 50))


def test_a_higher_minimum_score_raises_fewer_alarms() -> None:
    raised = [any(alarms([FIRE] * 9, replace(RULES, min_score=score))) for score in (-5, 0.75, 2, 5)]
    assert raised == [True, True, True, False]


def test_a_white_light_raises_no_alarm_unless_the_camera_sees_no_colour() -> None:
    white = [Seen(region(redness=2.0))] * 10
    assert not any(alarms(white))
    assert any(alarms(white, infrared=True))
    assert any(alarms(white, replace(RULES, require_colour=False)))


def test_what_is_carried_past_raises_an_alarm_only_without_the_rule_for_steady_regions() -> None:
    passing = [Seen(region(left=5 + 4 * number), WEAK) for number in range(20)]
    times_s = [n * 0.2 for n in range(20)]
    assert not any(alarms(passing, times_s=times_s))
    assert any(alarms(passing, replace(RULES, require_steady=False), times_s=times_s))


def test_what_changes_its_size_all_the_time_raises_no_alarm() -> None:
    small, large = (region(width=side, height=side, probability=0.81) for side in (3, 20))
    bursts = [Seen(large if number % 2 else small, WEAK) for number in range(40)]
    assert not any(alarms(bursts))
    assert any(alarms(bursts, replace(RULES, require_steady=False)))


def test_a_growing_fire_raises_an_alarm() -> None:
    growing = [Seen(region(left=50 - n // 2, top=50 - n // 2, width=6 + n, height=6 + n)) for n in range(20)]
    assert any(alarms(growing))


def test_results_before_a_camera_outage_do_not_count() -> None:
    times_s = (0.0, 0.5, 100.0, 100.5, 101.0)
    assert alarms([FIRE] * 5, times_s=times_s) == [False, False, False, False, True]


def test_rare_results_raise_an_alarm_unless_they_are_further_apart_than_the_memory() -> None:
    patient = replace(RULES, memory_s=3.0, require_steady=False)
    assert not any(alarms([FIRE] * 20, patient, times_s=[4.0 * n for n in range(20)]))
    assert any(alarms([FIRE] * 20, patient, times_s=[2.0 * n for n in range(20)]))


def test_a_raised_alarm_survives_a_camera_outage_in_which_the_fire_burns_on() -> None:
    assert alarms([FIRE] * 5, times_s=(0.0, 0.5, 1.0, 500.0, 500.5))[2:] == [True, True, True]


def test_a_raised_alarm_is_cleared_after_a_camera_outage_if_the_fire_is_gone() -> None:
    assert alarms([FIRE, FIRE, FIRE, NOTHING], times_s=(0.0, 0.5, 1.0, 500.0))[2:] == [True, False]


def test_a_fire_on_a_border_is_in_both_zones_and_one_that_touches_a_zone_is_not() -> None:
    left, right = zone(0, 54), zone(54, 112)  # the region covers columns 50 to 57
    for cells in (left, right):
        assert alarms([FIRE] * 5, cells=cells)[-1]
    assert not alarms([FIRE] * 5, cells=zone(57, 112))[-1]


def test_a_fire_that_fills_a_small_zone_raises_its_alarm() -> None:
    blaze = [Seen(region(left=0, top=0, width=100, height=100))] * 5
    assert alarms(blaze, cells=zone(0, 2))[-1]


def test_a_fire_outside_a_zone_raises_no_alarm_in_it_until_it_moves_in() -> None:
    spreading = [FIRE] * 5 + [Seen(region(left=50, width=8 + 2 * n)) for n in range(20)]
    raised = alarms(spreading, cells=zone(70, 112))
    assert not raised[5]
    assert raised[-1]


def test_the_evidence_of_a_track_is_that_of_its_last_results() -> None:
    frames = [Seen(region(probability=0.3), 1.0)] * 10 + [FIRE, NOTHING, FIRE, FIRE, FIRE]
    (track,) = after_each(frames)[-1]
    seen = evidence(track, 14 * STEP_S, RULES)
    assert (seen.results, seen.ratio, seen.duration_s) == (4, 0.8, 7.0)
    assert (seen.probability, seen.flicker, seen.overlap, seen.area_variation) == pytest.approx((0.95, FLAME, 1, 0))


frames = st.lists(
    st.builds(
        Seen,
        st.one_of(
            st.none(),
            st.builds(region, st.integers(46, 54), width=st.integers(4, 14), probability=st.floats(0.5, 1)),
        ),
        st.one_of(st.none(), st.floats(0, 1)),
    ),
    max_size=40,
)
seen_or_not = st.lists(st.booleans(), max_size=40)


@given(frames)
def test_it_is_raised_only_on_a_frame_with_fire_and_cleared_only_after_its_time_unseen(frames: list[Seen]) -> None:
    unseen = round(RULES.off_after_s / STEP_S)
    for number, (before, after) in enumerate(pairwise(alarms(frames)), start=1):
        if after and not before:
            assert frames[number].region is not None
        if before and not after:
            assert all(seen.region is None for seen in frames[number - unseen : number + 1])


@given(frames)
def test_fewer_results_than_the_rules_ask_for_never_confirm(frames: list[Seen]) -> None:
    for number, tracks in enumerate(after_each(frames)):
        if any(track.confirmed for track in tracks):
            assert sum(seen.region is not None for seen in frames[: number + 1]) >= RULES.on_results
            break


@given(frames)
def test_only_a_fire_in_the_zone_raises_its_alarm(frames: list[Seen]) -> None:
    far = zone(80, 112)
    assert not any(alarms(frames, cells=far))
    whole, near = alarms(frames), alarms(frames, cells=zone(30, 80))
    assert whole == near


@given(seen_or_not, seen_or_not)
def test_more_sightings_never_delay_an_alarm(seen: list[bool], more: list[bool]) -> None:
    pairs = list(zip(seen, more, strict=False))
    fewer = alarms([FIRE if one else NOTHING for one, _ in pairs])
    larger = alarms([FIRE if one or other else NOTHING for one, other in pairs])
    assert True not in fewer or larger.index(True) <= fewer.index(True)


@pytest.mark.parametrize(("flicker", "fire"), [(MIN_FLICKER - 0.001, False), (MIN_FLICKER, True)])
def test_a_large_and_certain_light_is_fire_only_if_it_flickers(flicker: float, fire: bool) -> None:
    light = replace(region(width=60, height=60), probability=0.99)
    sightings = tuple(Sighting(number * STEP_S, light, flicker, 1.0) for number in range(5))
    track = Track(1, sightings, 0.0, 2.0, light, measured_s=2.0)
    assert fire_score(evidence(track, 2.0, RULES), RULES) > RULES.min_score
    assert is_fire(evidence(track, 2.0, RULES), RULES) == fire


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.permutations(range(5)))
def test_flicker_is_decided_by_the_median_in_any_order(scores: list[float], order: list[int]) -> None:
    expected = sorted(scores)[2] >= MIN_FLICKER
    for numbers in (range(5), order):
        sightings = tuple(Sighting(n * STEP_S, region(), scores[number]) for n, number in enumerate(numbers))
        track = Track(1, sightings, 0.0, 2.0, region(), measured_s=2.0)
        assert is_fire(evidence(track, 2.0, RULES), RULES) == expected


@given(st.floats(0.5, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.2))
def test_the_score_rises_with_flicker_probability_overlap_and_constancy(
    probability: float, flicker: float, overlap: float, more: float
) -> None:
    (track,) = after_each([FIRE] * 5)[-1]
    seen = evidence(track, 2.0, RULES)
    less = replace(seen, probability=probability, flicker=flicker, overlap=overlap, area_variation=0.5)
    score = fire_score(less, RULES)
    for better in (
        replace(less, probability=probability + more),
        replace(less, flicker=flicker + more),
        replace(less, overlap=overlap + more),
        replace(less, area_variation=0.5 - more),
        replace(less, share=less.share * (1 + more)),
    ):
        assert fire_score(better, RULES) >= score
