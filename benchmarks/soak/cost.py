"""Overhead of the loop: passes per second on a 720p recording against the bare interpreter.

Rounds are interleaved and the ratio is taken within a round, so that other load on the machine cancels.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from benchmarks.soak.process import run_edge
from benchmarks.soak.rig import free_port, viewers
from edge.camera.pattern import PatternCamera
from edge.model.latency import NETWORK
from edge.sinks.video import VideoWriter

HD = (1280, 720)
FPS = 30.0
VIEWERS = 10
SUMMARY = re.compile(r": (\d+) frames? in ([\d.]+) s .* ([\d.]+) passes per frame")


@dataclass(frozen=True)
class Cost:
    """Median ratios of the loop's throughput to the throughput of the bare interpreter."""

    network_ms: float
    alone: float
    watched: float
    """With ten viewers on the live page."""


def measure_cost(model: Path, rounds: int, on_round: Callable[[], None], seconds: float) -> Cost:
    """Run the loop `rounds` times alone and with viewers, on a recording of this length."""
    with tempfile.TemporaryDirectory(prefix="fireseg-soak-") as folder:
        video = Path(folder) / "hd.mp4"
        write_video(video, seconds)
        run = ("run", "--model", model, "--threads", "1", "--source", video, "--replay", "every-frame")
        measured = []
        for _ in range(rounds):
            before_ms = bare_ms(model)
            passes_per_s = throughput(run_edge(*run))
            port = free_port()
            with viewers(f"http://127.0.0.1:{port}", VIEWERS):
                watched_per_s = throughput(run_edge(*run, "--web", f"127.0.0.1:{port}"))
            network_ms = statistics.mean((before_ms, bare_ms(model)))
            measured.append((network_ms, passes_per_s * network_ms / 1000, watched_per_s * network_ms / 1000))
            on_round()
    return Cost(*map(statistics.median, zip(*measured, strict=True)))


def write_video(path: Path, seconds: float) -> None:
    """Write a 720p recording of the test pattern."""
    pattern, video = PatternCamera(fps=FPS), VideoWriter(path, FPS)
    for number in range(round(seconds * FPS)):
        video.write(cv2.cvtColor(cv2.resize(pattern.frame(number / FPS), HD), cv2.COLOR_RGB2BGR))
    video.close()


def bare_ms(model: Path) -> float:
    """Return the median latency of the network alone, from `fireseg-edge bench`."""
    stages = json.loads(run_edge("bench", "--model", model, "--json", "--threads", "1"))["stages"]
    return float(stages[NETWORK]["median_ms"])


def throughput(output: str) -> float:
    """Return runs of the model per second, from the summary that a run prints."""
    match = SUMMARY.search(output)
    if not match:
        raise RuntimeError(f"no count of frames and passes in {output!r}")
    return int(match[1]) / float(match[2]) * float(match[3])
