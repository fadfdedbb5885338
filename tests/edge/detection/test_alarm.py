"""The alarm over time: when it comes on, when it stays, when it goes off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules, AlarmState, Observation, is_flickering, step

RULES = AlarmRules(on_share=0.01, off_share=0.004, on_results=3, of_results=5, off_after_s=2.0, flicker_threshold=0.1)
STEP_S = 0.5
LIVELY, STILL = 0.3, 0.01


def timeline(shares: Iterable[float], rules: AlarmRules = RULES, change: float | None = LIVELY) -> list[bool]:
    """Whether the alarm is on after each of these shares, half a second apart."""
    state, on = AlarmState(), []
    for number, share in enumerate(shares):
        state = step(state, Observation(number * STEP_S, share, change), rules)
        on.append(state.on)
    return on


def test_it_comes_on_with_the_third_of_five_results_above_the_level() -> None:
    assert timeline([0.02, 0, 0.02, 0, 0.02, 0]) == [False, False, False, False, True, True]


def test_two_of_five_results_are_not_enough_however_long_they_go_on() -> None:
    assert not any(timeline([0.02, 0.02, 0, 0, 0] * 20))


def test_it_stays_on_between_the_two_levels_for_ever() -> None:
    assert timeline([0.02] * 3 + [0.005] * 500)[2:] == [True] * 501


def test_it_goes_off_two_seconds_after_the_last_share_above_the_lower_level() -> None:
    on = timeline([0.02] * 4 + [0.001] * 6)
    assert on.index(False, 3) * STEP_S == 2.0 + 2.0  # calm since 2.0 s


def test_one_flicker_above_the_lower_level_starts_the_wait_anew() -> None:
    on = timeline([0.02] * 3 + [0.001] * 4 + [0.005] + [0.001] * 4)
    assert all(on[2:])


def test_a_shape_that_keeps_still_raises_no_alarm() -> None:
    assert not any(timeline([0.5] * 50, change=STILL))
    assert any(timeline([0.5] * 50, replace(RULES, require_flicker=False), change=STILL))


def test_a_shape_never_compared_raises_no_alarm_as_when_a_lamp_is_switched_on() -> None:
    assert not any(timeline([0.5] * 50, change=None))


def test_one_jump_of_the_camera_makes_nothing_lively() -> None:
    state = AlarmState()
    for number in range(30):
        change = 1.0 if number % 5 == 0 else STILL
        state = step(state, Observation(number * STEP_S, 0.5, change), RULES)
        assert not state.on


def test_an_alarm_that_is_on_needs_no_liveliness_to_stay() -> None:
    state = AlarmState()
    for number in range(40):
        state = step(state, Observation(number * STEP_S, 0.5, LIVELY if number < 5 else STILL), RULES)
    assert state.on


def test_a_camera_that_was_away_begins_anew() -> None:
    state = AlarmState()
    for t_s in (0.0, 0.5, 100.0, 100.5):
        state = step(state, Observation(t_s, 0.5, LIVELY), RULES)
        assert not state.on
    assert step(state, Observation(101.0, 0.5, LIVELY), RULES).on


def test_an_alarm_stays_on_while_the_camera_is_away() -> None:
    state = AlarmState()
    for t_s in (0.0, 0.5, 1.0, 500.0):
        state = step(state, Observation(t_s, 0.5 if t_s < 2 else 0.0, LIVELY), RULES)
    assert state.on
    assert not step(state, Observation(502.0, 0.0, None), RULES).on


shares = st.lists(st.sampled_from([0.0, 0.003, 0.006, 0.02, 0.9]), max_size=60)


@given(shares=shares)
def test_shares_below_the_on_level_never_raise_it(shares: list[float]) -> None:
    assert not any(timeline([min(share, 0.009) for share in shares]))


@given(shares=shares)
def test_it_turns_on_only_at_a_burning_result_and_off_only_at_a_calm_one(shares: list[float]) -> None:
    on = timeline(shares)
    for number, (before, after) in enumerate(pairwise(on), start=1):
        if after and not before:
            assert sum(share >= RULES.on_share for share in shares[max(0, number - 4) : number + 1]) >= 3
        if before and not after:
            calm = round(RULES.off_after_s / STEP_S)
            assert all(share <= RULES.off_share for share in shares[number - calm : number + 1])


@given(shares=shares, more=shares)
def test_what_burns_more_is_seen_no_later(shares: list[float], more: list[float]) -> None:
    larger = [max(pair) for pair in zip(shares, more, strict=False)]
    less = timeline(shares[: len(larger)])
    greater = timeline(larger)
    assert True not in less or greater.index(True) <= less.index(True)


@given(changes=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_liveliness_does_not_depend_on_the_order_of_the_changes(changes: list[float]) -> None:
    seen = tuple(Observation(n * STEP_S, 0.5, change) for n, change in enumerate(changes))
    assert (
        is_flickering(seen, RULES)
        == is_flickering(seen[::-1], RULES)
        == (sorted(changes)[2] >= RULES.flicker_threshold)
    )
