"""One way to time inference, for `fireseg-edge bench`, for export reports and for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge.images import Frame

BENCH_FRAME = (720, 1280)  # height, width: what a camera gives, so that resizing it is counted too
RESIZE, NETWORK, WHOLE = STAGES = ("resize the frame", "run the network", "whole frame")
MIN_RUNS = 50
WARM_UP = 5
# MLPerf's rule for the latency of a single stream, whose headline is the 90th percentile.
FULL_RUNS = 1024
FULL_SECONDS = 60.0


class Timed(Protocol):
    """A segmenter, as far as timing it goes."""

    def load(self, frame: Frame) -> None: ...
    def invoke(self) -> None: ...
    def __call__(self, frame: Frame) -> Any: ...


def bench_frame() -> Frame:
    """The frame that every benchmark looks at: noise, so that no kernel has it easy."""
    return np.random.default_rng(0).integers(0, 256, (*BENCH_FRAME, 3), np.uint8)


def stages(segmenter: Timed, frame: Frame) -> dict[str, Callable[[], object]]:
    """What is timed, by `STAGES`: preprocessing alone, the network alone, and both with the map read out."""
    segmenter(frame)  # so that the network alone has a frame to look at
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
    """All runs together."""

    @property
    def frames_per_s(self) -> float:
        return 1000 / self.median_ms


def time_runs(
    run: Callable[[], object],
    *,
    min_runs: int = MIN_RUNS,
    min_seconds: float = 1.0,
    warm_up: int = WARM_UP,
    on_run: Callable[[], None] | None = None,
) -> Latency:
    """Call `run` until both bounds are reached, after `warm_up` calls that do not count."""
    for _ in range(warm_up):
        run()
    times_ms: list[float] = []
    ends_s = time.perf_counter() + min_seconds
    while len(times_ms) < min_runs or time.perf_counter() < ends_s:
        started_ns = time.perf_counter_ns()
        run()
        times_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        if on_run:
            on_run()
    median, p90, p99 = np.percentile(times_ms, [50, 90, 99])
    return Latency(len(times_ms), float(median), float(p90), float(p99), sum(times_ms) / 1000)
