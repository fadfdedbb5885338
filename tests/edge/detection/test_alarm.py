"""The alarm over time: when it is raised, how long it stays, when it is cleared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules, AlarmState, Observation, is_fire, step

RULES = AlarmRules(on_share=0.01, off_share=0.004, on_results=3, of_results=5, off_after_s=2.0, flicker_threshold=0.1)
STEP_S = 0.5
FLAME, STEADY = 0.3, 0.01  # flicker


def alarms(observations: Iterable[Observation], rules: AlarmRules = RULES) -> list[bool]:
    """Whether the alarm is raised after each observation."""
    state, raised = AlarmState(), []
    for observation in observations:
        state = step(state, observation, rules)
        raised.append(state.raised)
    return raised


def timeline(shares: Iterable[float], rules: AlarmRules = RULES, flicker: float | None = FLAME) -> list[bool]:
    """Whether the alarm is raised after each share, half a second apart."""
    return alarms((Observation(number * STEP_S, share, flicker) for number, share in enumerate(shares)), rules)


def test_it_is_raised_by_the_third_of_five_results_above_the_on_level() -> None:
    assert timeline([0.02, 0, 0.02, 0, 0.02, 0]) == [False, False, False, False, True, True]


def test_two_of_five_results_are_never_enough() -> None:
    assert not any(timeline([0.02, 0.02, 0, 0, 0] * 20))


def test_it_stays_raised_between_the_two_levels() -> None:
    assert timeline([0.02] * 3 + [0.005] * 500)[2:] == [True] * 501


def test_it_is_cleared_two_seconds_after_the_area_fell_to_the_off_level() -> None:
    raised = timeline([0.02] * 4 + [0.001] * 6)
    assert raised.index(False, 3) * STEP_S == 2.0 + 2.0  # below since 2.0 s


def test_one_result_above_the_off_level_restarts_the_clearing_time() -> None:
    assert all(timeline([0.02] * 3 + [0.001] * 4 + [0.005] + [0.001] * 4)[2:])


def test_a_steady_region_raises_an_alarm_only_without_the_flicker_rule() -> None:
    assert not any(timeline([0.5] * 50, flicker=STEADY))
    assert any(timeline([0.5] * 50, replace(RULES, require_flicker=False), flicker=STEADY))


def test_a_region_that_was_never_compared_raises_no_alarm() -> None:
    assert not any(timeline([0.5] * 50, flicker=None))


def test_single_camera_jumps_are_not_flicker() -> None:
    assert not any(alarms(Observation(n * STEP_S, 0.5, STEADY if n % 5 else 1.0) for n in range(30)))


def test_a_raised_alarm_needs_no_flicker_to_stay() -> None:
    assert alarms(Observation(n * STEP_S, 0.5, FLAME if n < 5 else STEADY) for n in range(40))[-1]


def test_results_before_a_camera_outage_do_not_count() -> None:
    times_s = (0.0, 0.5, 100.0, 100.5, 101.0)
    assert alarms(Observation(t_s, 0.5, FLAME) for t_s in times_s) == [False, False, False, False, True]


def test_a_raised_alarm_survives_a_camera_outage() -> None:
    seen = [Observation(t_s, 0.5 if t_s < 2 else 0.0, FLAME) for t_s in (0.0, 0.5, 1.0, 500.0, 502.0)]
    assert alarms(seen)[2:] == [True, True, False]


shares = st.lists(st.sampled_from([0.0, 0.003, 0.006, 0.02, 0.9]), max_size=60)


@given(shares=shares)
def test_shares_below_the_on_level_never_raise_it(shares: list[float]) -> None:
    assert not any(timeline([min(share, 0.009) for share in shares]))


@given(shares=shares)
def test_it_is_raised_only_by_enough_fire_and_cleared_only_after_enough_calm(shares: list[float]) -> None:
    for number, (before, after) in enumerate(pairwise(timeline(shares)), start=1):
        if after and not before:
            assert sum(share >= RULES.on_share for share in shares[max(0, number - 4) : number + 1]) >= 3
        if before and not after:
            calm = round(RULES.off_after_s / STEP_S)
            assert all(share <= RULES.off_share for share in shares[number - calm : number + 1])


@given(shares=shares, more=shares)
def test_a_larger_fire_is_detected_no_later(shares: list[float], more: list[float]) -> None:
    larger = [max(pair) for pair in zip(shares, more, strict=False)]
    less, greater = timeline(shares[: len(larger)]), timeline(larger)
    assert True not in less or greater.index(True) <= less.index(True)


@given(scores=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_flicker_is_decided_by_the_median_in_any_order(scores: list[float]) -> None:
    seen = tuple(Observation(n * STEP_S, 0.5, score) for n, score in enumerate(scores))
    expected = sorted(scores)[2] >= RULES.flicker_threshold
    assert is_fire(seen, RULES) == is_fire(seen[::-1], RULES) == expected
