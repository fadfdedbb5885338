"""Times and maps of all peers, interleaved: in every round each peer runs a short burst, in an order drawn anew.

Whatever else the machine does in a round, it does to all; ratios are taken within a round, so that it cancels.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.peers.catalogue import Peer
from benchmarks.peers.convert import Models, Prepare
from benchmarks.peers.runtimes import PeerError
from edge.console import OnStep
from edge.model.preprocess import probability_to_u8
from edge.model.segmenter import DEFAULT_THRESHOLD, OUTPUT_STEPS
from train.evaluation.evaluate import Masks

BURST_RUNS = 30
WARM_UP = 5


class Worker(Protocol):
    """What `benchmarks.peers.client.Client` is to this file."""

    version: str

    def time(self, frames: Path, runs: int, warm_up: int) -> list[float]: ...

    def segment(self, frames: Path, maps: Path) -> None: ...

    def close(self) -> None: ...


@dataclass
class Measured:
    """What became of one peer. Where `failure` is set, it is why the rest is missing or ends early."""

    peer: Peer
    version: str | None = None
    masks: Masks | None = None
    rounds_ms: dict[int, list[float]] = field(default_factory=dict)
    """By thread count: the median of each round's burst."""
    failure: str | None = None


Start = Callable[[Peer, Path, int], Worker]


def measure(
    peers: Sequence[Peer],
    models: Models,
    threads: Sequence[int],
    rounds: int,
    frames: Path,
    prepare: Prepare,
    start: Start,
    on_step: OnStep,
) -> list[Measured]:
    """Start every peer once for each thread count, let each segment the frames, then time all in rounds."""
    found = {peer: Measured(peer) for peer in peers}
    with ExitStack() as running:
        workers: dict[tuple[Peer, int], Worker] = {}
        done = on_step("segmenting the test images", len(peers))
        for peer, measured in found.items():
            try:
                model = models.file(peer.model)
                prepare(peer.environment)
                for count in threads:
                    worker = start(peer, model, count)
                    running.callback(worker.close)
                    workers[peer, count] = worker
                    measured.version = worker.version
                measured.masks = masks(workers[peer, threads[0]], frames, frames.with_name(f"{peer.name}.npy"))
            except PeerError as error:
                measured.failure = str(error)
                for count in threads:
                    workers.pop((peer, count), None)
            done()
        time_rounds(workers, found, rounds, frames, on_step)
    return list(found.values())


def masks(worker: Worker, frames: Path, maps: Path) -> Masks:
    """Where a peer sees fire. Raises `PeerError` where its maps do not fit the frames."""
    worker.segment(frames, maps)
    values, expected = np.load(maps), np.load(frames, mmap_mode="r").shape[:3]
    if values.shape != expected:
        raise PeerError(f"gives maps of shape {values.shape}, expected {expected}")
    if values.dtype != np.uint8:
        values = probability_to_u8(values.astype(np.float32))
    marked: Masks = values >= round(DEFAULT_THRESHOLD * OUTPUT_STEPS)
    return marked


def time_rounds(
    workers: dict[tuple[Peer, int], Worker],
    found: dict[Peer, Measured],
    rounds: int,
    frames: Path,
    on_step: OnStep,
    seed: int = 0,
) -> None:
    """Time all workers in every round. A peer that fails is left out from there on, and loses its times."""
    order, shuffled = list(workers), random.Random(seed)
    for peer, count in order:
        found[peer].rounds_ms[count] = []
    done = on_step("timing rounds", rounds)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for peer, count in order:
            if found[peer].failure:
                continue
            try:
                burst_ms = workers[peer, count].time(frames, BURST_RUNS, WARM_UP)
            except PeerError as error:
                found[peer].failure = f"failed while it was timed: {error}"
                found[peer].rounds_ms.clear()
                continue
            found[peer].rounds_ms[count].append(statistics.median(burst_ms))
        done()
