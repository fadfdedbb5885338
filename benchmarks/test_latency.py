"""How fast the shipped models are on this machine: `make bench`, or with MODEL=… another `.tflite`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.files import sha256
from edge.segmenter import Segmenter
from edge.timing import BENCH_FRAME, cpu_name

MODELS = Path(__file__).parents[1] / "models"
THREADS = [count for count in (1, 2, 4) if count <= (os.cpu_count() or 1)]


def models() -> list[Path]:
    """The `.tflite` that MODEL names, else all that ship."""
    named = os.environ.get("MODEL", "")
    return [Path(named)] if named.endswith(".tflite") else sorted(MODELS.glob("*.tflite"))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("path", models(), ids=lambda path: path.stem)
@pytest.mark.parametrize("stage", ["resize", "network", "frame"])
def test_latency(benchmark: Any, path: Path, threads: int, stage: str) -> None:
    segmenter = Segmenter(path, threads=threads)
    frame = np.random.default_rng(0).integers(0, 256, (*BENCH_FRAME, 3), np.uint8)
    segmenter(frame)
    run = {
        "resize": lambda: segmenter.load(frame),
        "network": segmenter.invoke,
        "frame": lambda: segmenter(frame),
    }[stage]
    benchmark.extra_info |= {
        "model_sha256": sha256(path),
        "runtime": str(segmenter.runtime),
        "threads": threads,
        "cpu": cpu_name(),
        "load": os.getloadavg()[0],
    }
    benchmark(run)
