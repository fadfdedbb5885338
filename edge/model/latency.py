"""Time inference: for `fireseg-edge bench`, export reports and the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.images import Frame
from edge.model.segmenter import Segmenter

BENCH_FRAME = (720, 1280)  # height, width of a camera frame, so that resizing counts
RESIZE, NETWORK, WHOLE = STAGES = ("resize the frame", "run the network", "whole frame")
MIN_RUNS = 50
WARM_UP = 5
# MLPerf's single-stream rule; it reports the 90th percentile.
FULL_RUNS = 1024
FULL_SECONDS = 60.0


def bench_frame() -> Frame:
    """Return the frame of all benchmarks: noise, so that no kernel profits from easy data."""
    return np.random.default_rng(0).integers(0, 256, (*BENCH_FRAME, 3), np.uint8)


def stages(segmenter: Segmenter, frame: Frame) -> dict[str, Callable[[], object]]:
    """Return a function per stage of `STAGES`: preprocessing, inference, and both with the output map."""
    segmenter(frame)  # fill the input tensor for the network alone
    return {
        RESIZE: lambda: segmenter.load(frame),
        NETWORK: segmenter.invoke,
        WHOLE: lambda: segmenter(frame),
    }


@dataclass(frozen=True)
class Latency:
    """Percentiles of single runs, in milliseconds."""

    runs: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    seconds: float = 0.0
    """Total time of all runs."""

    @property
    def frames_per_s(self) -> float:
        return 1000 / self.median_ms


def time_runs(
    run: Callable[[], object], *, min_runs: int = MIN_RUNS, min_seconds: float = 1.0, warm_up: int = WARM_UP
) -> Latency:
    """Call `run` until both minimums are reached, after `warm_up` uncounted calls."""
    for _ in range(warm_up):
        run()
    times_ms: list[float] = []
    end_s = time.perf_counter() + min_seconds
    while len(times_ms) < min_runs or time.perf_counter() < end_s:
        started_ns = time.perf_counter_ns()
        run()
        times_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
    median, p90, p99 = np.percentile(times_ms, [50, 90, 99])
    return Latency(len(times_ms), float(median), float(p90), float(p99), sum(times_ms) / 1000)
