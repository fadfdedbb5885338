"""Overhead of the loop: throughput on a 720p recording against the bare interpreter.

Rounds are interleaved and the ratio is taken within a round, so that other load on the machine cancels.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from benchmarks.soak.process import ROOT, run_to_end
from benchmarks.soak.rig import free_port, viewers
from edge.camera.pattern import PatternCamera
from edge.model.latency import NETWORK
from edge.sinks.video import VideoFile

HD = (1280, 720)
FPS = 30.0
SECONDS = 40.0
VIEWERS = 10
SUMMARY = re.compile(r": (\d+) frames in ([\d.]+) s")


@dataclass(frozen=True)
class Cost:
    """Median ratios of the loop's throughput to the throughput of the bare interpreter."""

    threads: int
    network_ms: float
    alone: float
    watched: float
    """With ten viewers on the live page."""
    rounds: int


def measure_cost(model: Path, threads: int, rounds: int, on_step: Callable[[], None], seconds: float = SECONDS) -> Cost:
    """Run the loop `rounds` times alone and with viewers, on a recording of this length."""
    with tempfile.TemporaryDirectory(prefix="fireseg-soak-") as folder:
        video = Path(folder) / "hd.mp4"
        write_video(video, seconds)
        run = ("--model", model, "--threads", str(threads), "--source", video, "--replay", "every-frame")
        networks_ms, alone, watched = [], [], []
        for _ in range(rounds):
            before_ms = bare_ms(model, threads)
            fps = throughput(run_to_end(run))
            port = free_port()
            with viewers(f"http://127.0.0.1:{port}", VIEWERS):
                watched_fps = throughput(run_to_end((*run, "--web", f"127.0.0.1:{port}")))
            network_ms = statistics.mean((before_ms, bare_ms(model, threads)))
            networks_ms.append(network_ms)
            alone.append(fps * network_ms / 1000)
            watched.append(watched_fps * network_ms / 1000)
            on_step()
    network_ms, *ratios = map(statistics.median, (networks_ms, alone, watched))
    return Cost(threads, network_ms, ratios[0], ratios[1], rounds)


def write_video(path: Path, seconds: float) -> None:
    """Write a 720p recording of the test pattern."""
    pattern, video = PatternCamera(fps=FPS), VideoFile(path, FPS)
    for number in range(round(seconds * FPS)):
        video.write(cv2.cvtColor(cv2.resize(pattern.frame(number / FPS), HD), cv2.COLOR_RGB2BGR))
    video.close()


def bare_ms(model: Path, threads: int) -> float:
    """Return the median latency of the network alone, from `fireseg-edge bench`."""
    command = [sys.executable, "-c", "from edge.cli import run; run()", "bench", str(model), "--json"]
    done = subprocess.run(
        [*command, "--threads", str(threads)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    median_ms: float = json.loads(done.stdout)["stages"][NETWORK]["median_ms"]
    return median_ms


def throughput(summary: str) -> float:
    """Return frames per second, from the last line of a run."""
    match = SUMMARY.search(summary)
    if not match:
        raise RuntimeError(f"no frame count in {summary!r}")
    return int(match[1]) / float(match[2])
