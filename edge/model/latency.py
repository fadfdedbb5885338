"""Time inference: for `fireseg-edge bench`, export reports and the benchmarks."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.errors import UserError
from edge.images import Frame
from edge.model.card import Card, split_model
from edge.model.segmenter import Segmenter
from edge.model.shipped import other_kinds

BENCH_FRAME = (720, 1280)  # height, width of a camera frame, so that resizing counts
RESIZE, NETWORK, WHOLE = STAGES = ("resize the frame", "run the network", "whole frame")
MIN_RUNS = 50
WARM_UP = 5
KIND_ROUNDS = 5
FASTER = 0.95  # of the time; closer is noise
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


def compare_kinds(
    segmenter: Segmenter, *, runs: int, rounds: int = KIND_ROUNDS, runtime: str | None = None
) -> dict[str, float]:
    """Return the latency of each other kind of the model in its folder as a multiple of the model's, by file name.

    The files take turns, so that a machine that slows down slows them all. Warns of a file that does not load.
    """
    timed = [segmenter]
    for path in other_kinds(segmenter.path):
        try:
            _, card = split_model(path)
            if is_same_network(segmenter.card, card):
                timed.append(Segmenter(path, threads=segmenter.threads, runtime=runtime))
        except UserError as error:
            warnings.warn(f"{error}; it was not timed", stacklevel=2)
    if len(timed) == 1:
        return {}
    frame = np.random.default_rng(0).integers(0, 256, (segmenter.height, segmenter.width, 3), np.uint8)
    times_ms: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for each, own in zip(timed, times_ms, strict=True):
            own.append(time_runs(partial(each, frame), min_runs=runs, min_seconds=0, warm_up=1).median_ms)
    own_ms, *others_ms = map(statistics.median, times_ms)
    return {other.path.name: ms / own_ms for other, ms in zip(timed[1:], others_ms, strict=True)}


def is_same_network(card: Card | None, other: Card | None) -> bool:
    """Return whether two cards are of exports of one Keras model."""
    trained = (card or {}).get("keras_sha256")
    return trained is not None and trained == (other or {}).get("keras_sha256")


def kind_line(name: str, ratio: float) -> str:
    """Return one line on the latency of another kind of the model.

    Example:
        >>> kind_line("fireseg-small-float16.tflite", 0.61)
        "fireseg-small-float16.tflite takes 0.61 of this model's time: faster on this machine"
    """
    return f"{name} takes {ratio:.2f} of this model's time{': faster on this machine' if ratio < FASTER else ''}"


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
