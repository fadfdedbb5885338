"""What the loop costs beside the network: frames a second of a whole 720p recording against the bare interpreter.

The rounds are interleaved and the ratio is taken within each, so that what else the machine does weighs on both.
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

from benchmarks.soak.camera import free_port
from benchmarks.soak.process import ROOT, plain_run
from benchmarks.soak.viewers import viewers
from edge.camera.pattern import PatternCamera
from edge.model.latency import NETWORK
from edge.sinks.video import VideoFile

HD = (1280, 720)
FPS = 30.0
SECONDS = 40
VIEWERS = 10
RATE = re.compile(r": (\d+) frames in ([\d.]+) s")


@dataclass(frozen=True)
class Cost:
    """Median ratios of a whole loop's frames a second to what the bare interpreter could give."""

    threads: int
    network_ms: float
    alone: float
    watched: float
    """With ten viewers on the live page."""
    rounds: int


def measure_cost(model: Path, threads: int, rounds: int, on_step: Callable[[], None]) -> Cost:
    """Run the loop `rounds` times alone and with viewers."""
    with tempfile.TemporaryDirectory(prefix="fireseg-soak-") as folder:
        video = Path(folder) / "hd.mp4"
        write_video(video)
        run = ("--model", model, "--threads", str(threads), "--source", video, "--replay", "every-frame")
        networks_ms, alone, watched = [], [], []
        for _ in range(rounds):
            before_ms = bare_ms(model, threads)
            fps = rate(plain_run(run))
            port = free_port()
            with viewers(f"http://127.0.0.1:{port}", VIEWERS):
                seen_fps = rate(plain_run((*run, "--web", f"127.0.0.1:{port}")))
            network_ms = statistics.mean((before_ms, bare_ms(model, threads)))
            networks_ms.append(network_ms)
            alone.append(fps * network_ms / 1000)
            watched.append(seen_fps * network_ms / 1000)
            on_step()
    return Cost(threads, statistics.median(networks_ms), statistics.median(alone), statistics.median(watched), rounds)


def write_video(path: Path) -> None:
    """A 720p recording of the test pattern."""
    pattern, video = PatternCamera(fps=FPS), VideoFile(path, FPS)
    for number in range(round(SECONDS * FPS)):
        video.write(cv2.cvtColor(cv2.resize(pattern.frame(number / FPS), HD), cv2.COLOR_RGB2BGR))
    video.close()


def bare_ms(model: Path, threads: int) -> float:
    """Median time of the network alone, as `fireseg-edge bench` tells it."""
    command = [sys.executable, "-c", "from edge.cli import run; run()", "bench", str(model), "--json"]
    done = subprocess.run(
        [*command, "--threads", str(threads)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    median_ms: float = json.loads(done.stdout)["stages"][NETWORK]["median_ms"]
    return median_ms


def rate(summary: str) -> float:
    """Frames a second, from the line that a run ends with."""
    found = RATE.search(summary)
    if not found:
        raise RuntimeError(f"no rate in {summary!r}")
    return int(found[1]) / float(found[2])
