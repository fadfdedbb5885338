"""One way to time inference, for `fireseg-edge bench`, for export reports and for the benchmarks."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BENCH_FRAME = (720, 1280)  # height, width: what a camera gives, so that resizing it is counted too


@dataclass(frozen=True)
class Latency:
    """Percentiles of single runs, in milliseconds."""

    runs: int
    median_ms: float
    p90_ms: float
    p99_ms: float

    @property
    def frames_per_s(self) -> float:
        return 1000 / self.median_ms


def time_runs(
    run: Callable[[], object],
    *,
    min_runs: int = 50,
    min_seconds: float = 1.0,
    warm_up: int = 5,
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
    return Latency(len(times_ms), float(median), float(p90), float(p99))


def cpu_name() -> str:
    """The processor as a person knows it: the Pi's board name, or the model name Linux reports."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(errors="replace").strip("\x00 \n")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
