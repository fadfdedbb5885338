"""Minutes of a fast camera that sees no fire: how old results are, and whether age, memory or writes grow.

Everything that a run can tell is told: the page is served, a broker listens, clips and a spool stand ready.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.soak.broker import Broker
from benchmarks.soak.camera import camera, free_port
from benchmarks.soak.process import Sample, Subject, subject

FPS = 60.0
WARM_UP_S = 60.0
"""What a run allocates once, it has by then."""
FIRST_RESULT_S = 60.0
STARTS = 5
DAY_S = 86_400.0
HOUR_S = 3600.0
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
BLOCKS = 10
"""A slope's uncertainty is taken from stretches so many: neighbouring seconds are not independent of one another."""


@dataclass(frozen=True)
class Slope:
    """How much something grows, with the standard error of that."""

    per_hour: float
    error: float


@dataclass(frozen=True)
class Quiet:
    """What the quiet minutes came to, after the warm-up."""

    seconds: float
    results: int
    inference_ms: float
    age_p50_ms: float
    age_p99_ms: float
    age_ms: Slope
    rss_bytes: int
    """The most it ever held."""
    rss: Slope
    """In bytes."""
    written_bytes_per_day: float
    events: int


def watch_quietly(arguments: Sequence[str | Path], seconds: float, on_second: Callable[[], None]) -> Quiet:
    """Watch a calm camera for so long, the warm-up included. Raises `UserError` without a broker."""
    with (
        everything() as config,
        camera(fps=FPS, burning=False) as (address, _),
        subject(*arguments, "--config", config, "--source", address, "--max-fps", "0") as watched,
    ):
        watched.wait_for_results(1, FIRST_RESULT_S)
        for _ in range(round(seconds)):
            time.sleep(1)
            on_second()
        watched.terminate()
    return weigh(watched, min(WARM_UP_S, seconds / 3))


@contextmanager
def everything() -> Iterator[Path]:
    """A configuration that tells all there is to be told, and the broker that hears it."""
    with tempfile.TemporaryDirectory(prefix="fireseg-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, mosquitto becomes a user of its own
        broker = Broker(folder / "broker")
        config = folder / "fireseg.toml"
        config.write_text(CONFIG.format(folder=folder, port=broker.port, page=free_port()))
        try:
            yield config
        finally:
            broker.kill()


def weigh(watched: Subject, warm_up_s: float) -> Quiet:
    """The figures of a run that has ended, without its first seconds."""
    from_s = watched.at_s[0] + warm_up_s
    first = int(np.searchsorted(watched.at_s, from_s))
    at_s, ages_ms = watched.at_s[first:], watched.ages_ms[first:]
    samples = [sample for sample in watched.samples if sample.at_s >= from_s]
    age_p50_ms, age_p99_ms = (float(value) for value in np.percentile(ages_ms, [50, 99]))
    seconds = at_s[-1] - at_s[0]
    return Quiet(
        seconds=seconds,
        results=len(at_s),
        inference_ms=statistics.median(watched.inferences_ms[first:]),
        age_p50_ms=age_p50_ms,
        age_p99_ms=age_p99_ms,
        age_ms=slope(at_s, ages_ms),
        rss_bytes=max(sample.rss_bytes for sample in watched.samples),
        rss=slope([sample.at_s for sample in samples], [sample.rss_bytes for sample in samples]),
        written_bytes_per_day=per_day(samples),
        events=len(watched.events),
    )


def per_day(samples: Sequence[Sample]) -> float:
    span_s = samples[-1].at_s - samples[0].at_s
    return (samples[-1].written_bytes - samples[0].written_bytes) / span_s * DAY_S


def slope(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """A line through the medians of stretches of equal length, by least squares."""
    blocks = [
        (statistics.fmean(times), float(np.median(some)))
        for times, some in zip(np.array_split(at_s, BLOCKS), np.array_split(values, BLOCKS), strict=True)
        if len(some)
    ]
    hours = np.array([at for at, _ in blocks]) / HOUR_S
    medians = np.array([value for _, value in blocks])
    hours -= hours.mean()
    spread = float((hours**2).sum())
    per_hour = float((hours * medians).sum()) / spread
    rest = medians - medians.mean() - per_hour * hours
    return Slope(per_hour, float(np.sqrt((rest**2).sum() / (len(blocks) - 2) / spread)))


def start_s(arguments: Sequence[str | Path]) -> float:
    """From the start of the process to its first result, the median of some starts."""
    taken_s = []
    for _ in range(STARTS):
        with subject(*arguments, "--source", "test-pattern", "--max-frames", "1") as watched:
            while not watched.results and watched.process.poll() is None:
                time.sleep(0.005)
            watched.process.wait()
            taken_s.append(watched.at_s[0] - watched.began_s)
    return statistics.median(taken_s)
