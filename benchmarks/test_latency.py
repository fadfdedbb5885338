"""Latency of the shipped models on this machine: `make bench`, or another `.tflite` with MODEL=….

Imports `edge` only, so that it runs on a Pi without TensorFlow.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.models import timed_models
from edge.files import sha256
from edge.model.latency import MIN_RUNS, STAGES, WARM_UP, bench_frame, stages, time_runs
from edge.model.segmenter import Segmenter

THREADS = [count for count in (1, 2, 4) if count <= (os.cpu_count() or 1)]
SECONDS = 2.0
MAX_ROUNDS = 5000


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.replace(" ", "-"))
@pytest.mark.parametrize("path", timed_models(), ids=lambda path: path.stem)
@pytest.mark.parametrize("threads", THREADS)
def test_latency(recorded: Any, path: Path, threads: int, stage: str) -> None:
    segmenter = Segmenter(path, threads=threads)
    run = stages(segmenter, bench_frame())[stage]
    recorded.group = f"{stage}, {threads} thread{'s' if threads > 1 else ''}"
    recorded.extra_info |= {
        "model": path.name,
        "model_sha256": sha256(path),
        "runtime": str(segmenter.runtime),
        "stage": stage,
        "threads": threads,
    }
    estimate = time_runs(run, min_runs=5, min_seconds=0)
    rounds = min(max(MIN_RUNS, math.ceil(1000 * SECONDS / estimate.median_ms)), MAX_ROUNDS)
    recorded.pedantic(run, rounds=rounds, iterations=1, warmup_rounds=WARM_UP)
