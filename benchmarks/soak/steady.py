"""Minutes of a fast camera without fire: age of results, and growth of age, memory and disk writes.

Every sink is on: the page is served, a broker listens, clips and outbox are configured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import camera, free_port, temporary_broker

FPS = 60.0
WARM_UP_S = 60.0
"""One-time allocations are done by then."""
FIRST_RESULT_S = 60.0
STARTS = 5
DAY_S = 86_400.0
HOUR_S = 3600.0
BLOCKS = 10
"""A slope is fitted to block medians, because neighbouring seconds are correlated."""
CONFIG = """\
[web]
listen = "127.0.0.1:{page}"
[mqtt]
host = "127.0.0.1"
port = {port}
[clips]
folder = "{folder}/clips"
[spool]
folder = "{folder}/spool"
"""


@dataclass(frozen=True)
class Slope:
    """Growth per hour with its standard error."""

    per_hour: float
    error: float


@dataclass(frozen=True)
class Quiet:
    """Statistics of the quiet minutes after the warm-up."""

    seconds: float
    results: int
    inference_ms: float
    age_p50_ms: float
    age_p99_ms: float
    age_ms: Slope
    rss_bytes: int
    """Peak, warm-up included."""
    rss: Slope
    """In bytes."""
    written_bytes_per_day: float
    events: int


def run_quietly(arguments: Sequence[str | Path], seconds: float, on_second: Callable[[], None]) -> Quiet:
    """Run on a calm camera for `seconds`, warm-up included. Raise `UserError` without a broker."""
    with temporary_broker() as (folder, broker), camera(fps=FPS, content="calm") as (address, _):
        config = folder / "fireseg.toml"
        config.write_text(CONFIG.format(folder=folder, port=broker.port, page=free_port()))
        with start_run(*arguments, "--config", config, "--source", address, "--max-fps", "0") as run:
            run.wait_for_results(1, FIRST_RESULT_S)
            for _ in range(round(seconds)):
                time.sleep(1)
                on_second()
            run.terminate()
    return summarise(run, min(WARM_UP_S, seconds / 3))


def summarise(run: ProcessUnderTest, warm_up_s: float) -> Quiet:
    """Return the statistics of a finished run, without its warm-up."""
    from_s = run.at_s[0] + warm_up_s
    first = int(np.searchsorted(run.at_s, from_s))
    at_s, ages_ms = run.at_s[first:], run.ages_ms[first:]
    samples = [sample for sample in run.samples if sample.at_s >= from_s]
    written_bytes = samples[-1].written_bytes - samples[0].written_bytes
    age_p50_ms, age_p99_ms = (float(value) for value in np.percentile(ages_ms, [50, 99]))
    return Quiet(
        seconds=at_s[-1] - at_s[0],
        results=len(at_s),
        inference_ms=statistics.median(run.inferences_ms[first:]),
        age_p50_ms=age_p50_ms,
        age_p99_ms=age_p99_ms,
        age_ms=slope(at_s, ages_ms),
        rss_bytes=max(sample.rss_bytes for sample in run.samples),
        rss=slope([sample.at_s for sample in samples], [sample.rss_bytes for sample in samples]),
        written_bytes_per_day=written_bytes / (samples[-1].at_s - samples[0].at_s) * DAY_S,
        events=len(run.events),
    )


def slope(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line through the medians of equal stretches, by least squares."""
    hours = [float(block.mean()) / HOUR_S for block in np.array_split(at_s, BLOCKS)]
    medians = [float(np.median(block)) for block in np.array_split(values, BLOCKS)]
    (per_hour, _), covariance = np.polyfit(hours, medians, 1, cov=True)
    return Slope(float(per_hour), float(np.sqrt(covariance[0, 0])))


def start_s(arguments: Sequence[str | Path]) -> float:
    """Return the median time from process start to first result."""
    times_s = []
    for _ in range(STARTS):
        with start_run(*arguments, "--source", "test-pattern", "--max-frames", "1") as run:
            run.wait_for_results(1, FIRST_RESULT_S)
            run.process.wait()
        times_s.append(run.at_s[0] - run.started_s)
    return statistics.median(times_s)
