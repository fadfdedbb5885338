"""The score: what counts as a true or false alarm, ONFIRE's formula, and exact Poisson intervals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.evaluation.recordings import Label, Recording
from edge.evaluation.score import (
    GRACE_S,
    WINDOWS_S,
    Outcome,
    fire_detection_score,
    frame_rate_term,
    memory_term,
    poisson_interval,
    score,
)  # fmt: skip

times = st.lists(st.floats(0, 200), max_size=6).map(sorted).map(tuple)


def fire(*alarms_s: float, from_s: float = 20, to_s: float = math.inf, duration_s: float = 100) -> Outcome:
    return Outcome(Recording(Path("fire.mp4"), Label.FIRE, from_s, to_s), duration_s, alarms_s)


def quiet(*alarms_s: float, duration_s: float = 1800) -> Outcome:
    return Outcome(Recording(Path("none.mp4"), Label.NONE), duration_s, alarms_s)


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    recordings = st.builds(
        Recording,
        st.just(Path("x.mp4")),
        st.sampled_from(list(Label)),
        st.floats(0, 100),
        st.just(math.inf) | st.floats(101, 150),
    )
    return draw(st.lists(st.builds(Outcome, recordings, st.floats(150, 200), times), max_size=6))


@pytest.mark.parametrize(
    ("alarms_s", "delay_s", "false_s"),
    [
        ((21.5,), 1.5, ()),
        ((15.0,), 5.0, ()),  # up to 5 s before the fire
        ((14.9,), None, (14.9,)),
        ((3.0, 25.0), 5.0, (3.0,)),
        ((22.0, 30.0, 50.0), 2.0, ()),  # further alarms of the same fire
        ((), None, ()),
        ((60 + GRACE_S,), 40 + GRACE_S, ()),
        ((61 + GRACE_S,), None, (61 + GRACE_S,)),
    ],
)
def test_an_alarm_is_true_from_5_s_before_the_fire_until_it_ends(
    alarms_s: tuple[float, ...], delay_s: float | None, false_s: tuple[float, ...]
) -> None:
    outcome = fire(*alarms_s, to_s=60)
    assert (outcome.delay_s, outcome.false_alarms_s) == (delay_s, false_s)


def test_time_without_fire_is_all_of_a_quiet_recording_and_the_rest_around_a_fire() -> None:
    assert quiet(duration_s=50).watched_s == 50
    assert fire().watched_s == 15
    assert fire(to_s=60).watched_s == 15 + 100 - 60 - GRACE_S
    assert fire(from_s=0).watched_s == 0


def test_recordings_labelled_any_are_not_scored() -> None:
    shown = Outcome(Recording(Path("any.mp4")), 3600, (1.0, 2.0))
    assert (shown.false_alarms_s, shown.delay_s, shown.watched_s) == ((), None, 0)
    assert score([shown, fire(20.0)]) == score([fire(20.0)])


def test_a_score_by_hand() -> None:
    result = score([fire(26.0), fire(34.0), fire(), quiet(5.0, 90.0), quiet()])
    assert (result.fires, result.detected, result.false_alarms, result.recordings_without_fire) == (3, 2, 2, 2)
    assert result.recall_within == {5.0: 0.0, 10.0: 1 / 3, 30.0: 2 / 3}
    assert (result.precision, result.recall) == (2 / 3, 2 / 3)  # a recording is a false positive once
    assert (result.median_delay_s, result.mean_delay_s) == (10, 10)
    assert result.fds == pytest.approx(2 / 3 * 2 / 3 * 50 / 60)
    hours = (2 * 1800 + 3 * 15) / 3600
    assert result.false_alarms_per_hour == pytest.approx(2 / hours)
    assert result.false_alarms_interval == pytest.approx((0.2422 / hours, 7.2247 / hours), rel=1e-3)


def test_without_fires_or_without_quiet_time_the_score_leaves_figures_out() -> None:
    none = score([quiet()])
    assert (none.recall, none.recall_within, none.precision, none.fds, none.median_delay_s) == (None,) * 5
    full = score([fire(1.0, from_s=0)])
    assert (full.false_alarms_per_hour, full.false_alarms_interval) == (None, None)
    assert (full.precision, full.recall) == (1, 1)


@given(outcomes())
def test_the_score_and_its_parts_stay_within_0_and_1_and_recall_grows_with_the_window(results: list[Outcome]) -> None:
    result = score(results)
    if result.recall_within is not None and result.recall is not None and result.fds is not None:
        within = [result.recall_within[window_s] for window_s in WINDOWS_S]
        assert within == sorted(within)
        assert 0 <= within[0] <= within[-1] <= result.recall <= 1
        assert 0 <= result.fds <= result.recall
    if result.false_alarms_interval is not None and result.false_alarms_per_hour is not None:
        low, high = result.false_alarms_interval
        assert low <= result.false_alarms_per_hour < high


def test_the_fire_detection_score_falls_to_0_at_a_mean_delay_of_60_s() -> None:
    assert fire_detection_score(1, 1, [0]) == 1
    assert fire_detection_score(0.8, 0.5, [10, 20]) == pytest.approx(0.8 * 0.5 * 0.75)
    assert fire_detection_score(1, 1, [60, 200]) == 0
    assert fire_detection_score(1, 0, []) == 0


def test_slow_rates_and_much_memory_have_terms_apart() -> None:
    assert [frame_rate_term(fps) for fps in (30, 10, 5, 2)] == [1, 1, 2, 5]
    assert [memory_term(gigabytes) for gigabytes in (0.1, 4, 8)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Two-sided 95 % limits, as in the tables of Garwood (1936); one-sided, 0 events would give 3.0.
    [(0, 0, 3.6889), (1, 0.0253, 5.5716), (2, 0.2422, 7.2247), (10, 4.7954, 18.3904), (100, 81.3640, 121.6268)],
)
def test_poisson_intervals_equal_the_published_ones(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 300))
def test_a_poisson_interval_contains_the_count_and_grows_with_it(count: int) -> None:
    low, high = poisson_interval(count)
    assert low <= count < high
    assert poisson_interval(count + 1)[0] > low
    assert poisson_interval(count + 1)[1] > high
