"""Recordings play at their own speed, except for gaps in their time stamps."""

from __future__ import annotations

import itertools

import pytest

from edge.camera.replay import ReplayClock


@pytest.mark.parametrize(
    ("times_s", "waits_s"),
    [
        ([0.1, 0.2, 3600.0, 3600.1], [0.1, 0.1, 10, 0.1]),  # one gap
        ([50.0, 100.0, 150.0], [10, 50, 50]),  # a slow time lapse
        ([3600.0, 7200.0, 10_800.0], [10, 100, 100]),  # one that is too slow
    ],
)
def test_a_gap_is_shortened_and_a_regular_one_less(
    times_s: list[float], waits_s: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    clock = ReplayClock("jump.mp4", 1000.0, 0.0)
    due_s = [1000.0, *(clock.due_s(t_s) for t_s in times_s)]
    assert [later - earlier for earlier, later in itertools.pairwise(due_s)] == pytest.approx(waits_s)
    assert "jump.mp4: gap of " in caplog.text
