"""Latency is measured after a warm-up, for a minimum of runs and seconds."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from edge.model.card import Card, attach, split_model
from edge.model.latency import compare_kinds, time_runs
from edge.model.segmenter import Segmenter


def test_the_runs_of_the_warm_up_are_not_counted() -> None:
    runs: list[int] = []
    latency = time_runs(lambda: runs.append(1), min_runs=7, min_seconds=0, warm_up=3)
    assert (latency.runs, len(runs)) == (7, 10)


def test_runs_continue_for_the_minimum_time() -> None:
    started_s = time.perf_counter()
    latency = time_runs(lambda: time.sleep(0.001), min_runs=1, min_seconds=0.05, warm_up=0)
    assert time.perf_counter() - started_s >= 0.05
    assert latency.runs > 1


def test_a_slow_first_run_raises_the_tail_and_not_the_median() -> None:
    naps_s = iter([0.05])
    latency = time_runs(lambda: time.sleep(next(naps_s, 0)), min_runs=50, min_seconds=0, warm_up=0)
    assert latency.median_ms <= latency.p90_ms <= latency.p99_ms
    assert latency.median_ms < 20 < latency.p99_ms


def test_every_other_kind_of_a_model_in_its_folder_is_timed_beside_it(models: dict[str, Path]) -> None:
    ratios = compare_kinds(Segmenter(models["int8"], threads=1), rounds=2, runs=1)
    assert ratios.keys() == {models[kind].name for kind in ("float16", "float32")}
    assert all(ratio > 0 for ratio in ratios.values())


def test_another_network_with_the_name_of_a_kind_is_not_timed(
    models: dict[str, Path], card: Card, tmp_path: Path
) -> None:
    for kind, trained in (("int8", "ab" * 32), ("float16", "cd" * 32)):
        flatbuffer, _ = split_model(models[kind])
        (tmp_path / f"mine-{kind}.tflite").write_bytes(attach(flatbuffer, card | {"keras_sha256": trained}))
    assert compare_kinds(Segmenter(tmp_path / "mine-int8.tflite", threads=1), rounds=1, runs=1) == {}


def test_a_model_without_other_kinds_is_not_timed(models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("tiny-int8.tflite", "mine.tflite"):
        shutil.copy(models["int8"], tmp_path / name)
        assert compare_kinds(Segmenter(tmp_path / name, threads=1), rounds=1, runs=1) == {}


def test_times_and_their_sum_are_those_of_the_counted_runs() -> None:
    latency = time_runs(lambda: time.sleep(0.005), min_runs=4, min_seconds=0, warm_up=3)
    assert latency.median_ms >= 5
    assert latency.frames_per_s == 1000 / latency.median_ms
    assert latency.seconds >= 4 * 0.005
