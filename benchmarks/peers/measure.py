"""Latency and maps of all peers, interleaved: in every round, each peer runs a short burst, in shuffled order.

Other load on the machine affects all peers of a round; ratios are taken within a round, so that it cancels.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.convert import Models
from benchmarks.peers.runtimes import BUILD, ROOT, Peer, PeerError, failure_reason, worker_environment
from edge.console import OnStep
from edge.files import make_folder
from edge.model.preprocess import probability_to_u8, to_model_input
from train.data.fireseg import Pair
from train.evaluation.evaluate import Masks
from train.model.io import KerasPredictor

BURST_RUNS = 30
WARM_UP = 5
ANSWER_LIMIT_S = 600.0


class Client:
    """A running `benchmarks.peers.worker`. A failure raises `PeerError` and ends the worker."""

    def __init__(self, peer: Peer, model: Path, threads: int) -> None:
        self._log = make_folder(BUILD / "logs") / f"{peer.name}-{threads}.log"
        python, arguments = str(peer.environment.prepare()), [peer.adapter, str(model), str(threads), peer.precision]
        command = [python, "-m", "benchmarks.peers.worker", *arguments]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=worker_environment(threads),
                cwd=ROOT,
                text=True,
            )
        self.version = str(self._answer()["version"])

    def time(self, frames: Path, runs: int, warm_up: int) -> list[float]:
        """Return the milliseconds of each of `runs` invocations on the first frame, after the warm-up."""
        answer = self._request({"command": "time", "frames": str(frames), "runs": runs, "warm_up": warm_up})
        return [float(value) for value in answer["ms"]]

    def segment(self, frames: Path, maps: Path) -> None:
        """Write the map of every frame."""
        self._request({"command": "segment", "frames": str(frames), "maps": str(maps)})

    def close(self) -> None:
        """End the worker, if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # closing flushes an unread request
                    pipe.close()

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # its exit status says more than the broken pipe
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        timer = threading.Timer(ANSWER_LIMIT_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
        else:
            answer = {"error": failure_reason(self._log.read_text(errors="replace"), self._process.wait())}
        if "error" in answer:
            self.close()
            raise PeerError(str(answer["error"]))
        return answer


@dataclass
class Measured:
    """The measurements of one peer. `failure` says why they are missing or incomplete."""

    peer: Peer
    version: str | None = None
    masks: Masks | None = None
    rounds_ms: dict[int, list[float]] = field(default_factory=dict)
    """By thread count: the median of each round's burst."""
    failure: str | None = None


def measure(
    peers: Sequence[Peer],
    models: Models,
    threads: Sequence[int],
    rounds: int,
    frames: Path,
    on_step: OnStep,
    start: Callable[[Peer, Path, int], Client] = Client,
) -> list[Measured]:
    """Start every peer once per thread count, let each segment the frames, then time all in rounds."""
    results = {peer: Measured(peer) for peer in peers}
    with ExitStack() as running:
        workers: dict[tuple[Peer, int], Client] = {}
        done = on_step("segmenting the test images", len(peers))
        for peer, measured in results.items():
            try:
                model = models[peer.model]
                if isinstance(model, PeerError):
                    raise model
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
        time_rounds(workers, results, rounds, frames, on_step)
    return list(results.values())


def write_frames(pairs: Sequence[Pair], height: int, width: int, path: Path) -> None:
    """Write N x height x width x 3 bytes, for processes without OpenCV."""
    make_folder(path.parent)
    np.save(path, np.stack([to_model_input(pair.read()[0], height, width) for pair in pairs]))


def masks(worker: Client, frames: Path, maps: Path) -> Masks:
    """Return a peer's fire masks, N x H x W booleans. Raise `PeerError` if its maps have another shape."""
    worker.segment(frames, maps)
    values, expected = np.load(maps), np.load(frames, mmap_mode="r").shape[:3]
    if values.shape != expected:
        raise PeerError(f"maps have shape {values.shape}, expected {expected}")
    if values.dtype != np.uint8:
        values = probability_to_u8(values.astype(np.float32))
    fire: Masks = values >= KerasPredictor.threshold_u8
    return fire


def time_rounds(
    workers: dict[tuple[Peer, int], Client],
    results: dict[Peer, Measured],
    rounds: int,
    frames: Path,
    on_step: OnStep,
) -> None:
    """Time all workers in every round. A peer that fails loses its times and is left out of later rounds."""
    order, shuffled = list(workers), random.Random(0)
    for peer, count in order:
        results[peer].rounds_ms[count] = []
    done = on_step("timing rounds", rounds)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for peer, count in order:
            if results[peer].failure:
                continue
            try:
                burst_ms = workers[peer, count].time(frames, BURST_RUNS, WARM_UP)
            except PeerError as error:
                results[peer].failure = f"failed while timed: {error}"
                results[peer].rounds_ms.clear()
                continue
            results[peer].rounds_ms[count].append(statistics.median(burst_ms))
        done()
