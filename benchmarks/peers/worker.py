"""A peer in its own process and its own environment: loads one network, then times it or segments frames.

    python -m benchmarks.peers.worker ADAPTER MODEL THREADS PRECISION

Speaks JSON lines: answers `{"version": …}` once loaded, then one line to each line it is given:

    {"command": "time", "frames": "frames.npy", "runs": 30, "warm_up": 5}   ->  {"ms": […]}
    {"command": "segment", "frames": "frames.npy", "maps": "maps.npy"}      ->  {"maps": "maps.npy"}

Frames are N x H x W x 3 RGB bytes of the model's size; maps are N x H x W, as the network gives them: probability as
float, or bytes in steps of 1/256. What cannot be done is answered `{"error": "…"}`, and ends the worker.

What is timed is the run alone, with the frame already in the input that is natural to the peer: the frame's bytes for
int8 TFLite files, float32 for all others. Filling that input is not counted, and would cost the float peers more.

Nothing of the project is imported but this file and the adapter: the environment holds numpy and one runtime.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt


class Network(Protocol):
    """A loaded network: one frame is put in, run, and its map taken out."""

    def put(self, frame: npt.NDArray[np.uint8]) -> None: ...

    def invoke(self) -> object: ...

    def take(self) -> npt.NDArray[Any]: ...


def to_nchw(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """H x W x 3 bytes -> contiguous 1 x 3 x H x W floats, the form that most peers compute in."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32)


def time_burst(network: Network, frame: npt.NDArray[np.uint8], *, runs: int, warm_up: int) -> list[float]:
    """Milliseconds of each of `runs` invocations, after `warm_up` that do not count."""
    network.put(frame)
    for _ in range(warm_up):
        network.invoke()
    times_ms = []
    for _ in range(runs):
        started_ns = time.perf_counter_ns()
        network.invoke()
        times_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
    return times_ms


def segment(network: Network, frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The map of each frame."""
    maps = []
    for frame in frames:
        network.put(frame)
        network.invoke()
        maps.append(network.take())
    return np.stack(maps)


def obey(network: Network, order: dict[str, Any]) -> dict[str, Any]:
    """Do what one line asks. Raises ValueError for a command that is not known."""
    frames = np.load(order["frames"], mmap_mode="r")
    if order["command"] == "time":
        # A copy: a frame that lies in the file would be read from the disk while the network runs.
        frame = np.array(frames[0])
        return {"ms": time_burst(network, frame, runs=order["runs"], warm_up=order["warm_up"])}
    if order["command"] == "segment":
        np.save(order["maps"], segment(network, frames))
        return {"maps": order["maps"]}
    raise ValueError(f"there is no command {order['command']!r}: expected time or segment")


def serve(arguments: list[str], orders: Iterable[str], answers: TextIO) -> int:
    """Load the network, then answer every line. Returns the exit status."""

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        adapter_name, model, threads, precision = arguments
        adapter = importlib.import_module(f"benchmarks.peers.adapters.{adapter_name}")
        network = adapter.load(Path(model), int(threads), precision)
        answer({"version": importlib.metadata.version(adapter.PACKAGE)})
        for line in orders:
            answer(obey(network, json.loads(line)))
    except Exception as error:  # runtimes raise their own kinds and bare ones; the other side makes a row of it
        text = " ".join(str(error).split()) or type(error).__name__
        answer({"error": text})
        return 1
    return 0


def main() -> None:
    """Entry point."""
    # Runtimes chatter on stdout, from C++ too: the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    status = serve(sys.argv[1:], sys.stdin, answers)
    # Some runtimes crash while they are torn down, after all is said.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
