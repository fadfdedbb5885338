"""Latencies are counted after a warm-up, for as long and as often as was asked."""

from __future__ import annotations

import time

import pytest

from edge.images import Frame
from edge.model.latency import BENCH_FRAME, STAGES, Latency, bench_frame, stages, time_runs


def test_runs_of_the_warm_up_are_not_counted() -> None:
    runs: list[int] = []
    latency = time_runs(lambda: runs.append(1), min_runs=7, min_seconds=0, warm_up=3)
    assert latency.runs == 7
    assert len(runs) == 10


def test_the_callback_is_told_of_each_counted_run() -> None:
    told: list[int] = []
    time_runs(lambda: None, min_runs=4, min_seconds=0, warm_up=2, on_run=lambda: told.append(1))
    assert len(told) == 4


def test_it_goes_on_until_the_time_is_up() -> None:
    started_s = time.perf_counter()
    latency = time_runs(lambda: time.sleep(0.001), min_runs=1, min_seconds=0.05, warm_up=0)
    assert time.perf_counter() - started_s >= 0.05
    assert latency.runs > 1


def test_a_slow_first_run_lies_in_the_tail_and_not_in_the_median() -> None:
    naps_s = iter([0.05])
    latency = time_runs(lambda: time.sleep(next(naps_s, 0)), min_runs=50, min_seconds=0, warm_up=0)
    assert latency.median_ms <= latency.p90_ms <= latency.p99_ms
    assert latency.median_ms < 5 < latency.p99_ms


def test_a_run_takes_as_long_as_it_takes() -> None:
    latency = time_runs(lambda: time.sleep(0.01), min_runs=5, min_seconds=0, warm_up=0)
    assert latency.median_ms >= 10


def test_the_seconds_are_those_of_all_counted_runs() -> None:
    latency = time_runs(lambda: time.sleep(0.005), min_runs=4, min_seconds=0, warm_up=3)
    assert 4 * 0.005 <= latency.seconds < 1


def test_each_stage_does_its_part_of_a_frame_and_the_network_has_one_to_look_at() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.done: list[str] = []

        def load(self, frame: Frame) -> None:
            self.done.append("load")

        def invoke(self) -> None:
            self.done.append("invoke")

        def __call__(self, frame: Frame) -> None:
            assert frame.shape == (*BENCH_FRAME, 3)
            self.done.append("whole")

    recorder = Recorder()
    found = stages(recorder, bench_frame())
    assert recorder.done == ["whole"]
    for run in found.values():
        run()
    assert recorder.done[1:] == ["load", "invoke", "whole"]
    assert tuple(found) == STAGES


def test_frames_per_second_follow_from_the_median() -> None:
    assert Latency(runs=10, median_ms=20, p90_ms=25, p99_ms=30).frames_per_s == pytest.approx(50)
