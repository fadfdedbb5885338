"""A peer as a process in its own environment: loads one network, then times it or segments frames.

    python -m benchmarks.peers.worker ADAPTER MODEL THREADS PRECISION

Protocol: JSON lines. It answers `{"version": …}` once loaded, then one line per request:

    {"command": "time", "frames": "frames.npy", "runs": 30, "warm_up": 5}   ->  {"ms": […]}
    {"command": "segment", "frames": "frames.npy", "maps": "maps.npy"}      ->  {"maps": "maps.npy"}

Frames are N x H x W x 3 RGB bytes at the model's size. Maps are N x H x W raw network output: probabilities as float,
or bytes in steps of 1/256. A failure is answered with `{"error": "…"}` and ends the worker.

Only the run is timed, not the filling of the input: bytes for int8 TFLite files, float32 for all others.

Imports numpy, this file and the adapter only: the environment holds nothing else.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Network(NamedTuple):
    """A loaded network: `put` a frame in, `invoke` it, and `take` the map from what `invoke` returned."""

    put: Callable[[npt.NDArray[np.uint8]], None]
    invoke: Callable[[], Any]
    take: Callable[[Any], npt.NDArray[Any]]


def to_nchw(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Convert H x W x 3 bytes to contiguous 1 x 3 x H x W floats."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32)


def time_burst(network: Network, frame: npt.NDArray[np.uint8], *, runs: int, warm_up: int) -> list[float]:
    """Return the milliseconds of each of `runs` invocations after the warm-up."""
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
    """Return the map of each frame."""
    maps = []
    for frame in frames:
        network.put(frame)
        maps.append(network.take(network.invoke()))
    return np.stack(maps)


def execute(network: Network, request: dict[str, Any]) -> dict[str, Any]:
    """Execute one request and return the answer."""
    frames = np.load(request["frames"], mmap_mode="r")
    if request["command"] == "time":
        frame = np.array(frames[0])  # a copy, so that timing reads no file
        return {"ms": time_burst(network, frame, runs=request["runs"], warm_up=request["warm_up"])}
    np.save(request["maps"], segment(network, frames))
    return {"maps": request["maps"]}


def main(adapter_name: str, model: str, threads: str, precision: str) -> None:
    """Load the network, then answer every request."""
    # Runtimes print to stdout, from C++ too: answers go to a duplicate of the descriptor.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    status = 0
    try:
        adapter = importlib.import_module(f"benchmarks.peers.adapters.{adapter_name}")
        network = adapter.load(Path(model), int(threads), precision)
        print(json.dumps({"version": importlib.metadata.version(adapter.PACKAGE)}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(execute(network, json.loads(line))), file=answers, flush=True)
    except Exception as error:  # runtimes raise exceptions of every type
        print(json.dumps({"error": str(error) or type(error).__name__}), file=answers, flush=True)
        status = 1
    sys.stderr.flush()
    os._exit(status)  # some runtimes crash in their destructors


if __name__ == "__main__":
    main(*sys.argv[1:])
