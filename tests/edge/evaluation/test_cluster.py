"""Recordings on a real Dask cluster: the result of processes; lost workers; one line for what cannot work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config import load_config
from edge.errors import UserError
from edge.evaluation.cluster import check_workers, description, run_on_cluster
from edge.evaluation.evaluate import ALL_RULES, Evaluation, Plan, evaluate
from edge.evaluation.recordings import read_recordings
from edge.evaluation.replay import MemoSegmenter
from tests.support.recordings import pattern_recording, write_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers, processes of their own."""
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def half(segmenter: MemoSegmenter, number: int) -> tuple[int, int]:
    if number % 2:
        raise UserError(f"{number} is odd", "expected an even number")
    return number // 2, segmenter.height


def end_once(_segmenter: MemoSegmenter, marker: Path) -> str:
    """End the worker at the first call, as the kernel does when memory runs out."""
    if not marker.exists():
        marker.touch()
        os._exit(9)
    return "done"


def end(_segmenter: MemoSegmenter, _task: int) -> None:
    os._exit(9)


def outcomes(evaluation: Evaluation) -> tuple[list[Any], list[str]]:
    """What does not depend on the process: all but its memory."""
    return [replace(each, peak_gb=0.0) for each in evaluation.replayed], list(evaluation.errors)


def test_a_cluster_gives_the_result_of_processes_here(scheduler: str, tmp_path: Path) -> None:
    write_video(tmp_path / "fire.avi", pattern_recording(3))
    write_video(tmp_path / "room.avi", pattern_recording(1, flames=False))
    (tmp_path / "broken.avi").write_bytes(b"RIFF")
    recordings, config = read_recordings(tmp_path), load_config(None, {"model": {"path": "small"}})
    plan = Plan({ALL_RULES: config}, (10.0, 2.0))
    steps: list[int] = []
    here = evaluate(recordings, config.model.file, plan, jobs=1)
    there = evaluate(recordings, config.model.file, plan, dask=scheduler, on_step=lambda *_: lambda: steps.append(1))
    assert outcomes(there) == outcomes(here)
    assert (len(there.replayed), len(there.errors)) == (2, 1)
    assert here.outcomes()[0].alarms_s, "no alarm to compare"
    assert len(steps) == 3


def test_results_and_errors_keep_the_order_of_the_tasks(scheduler: str, models: dict[str, Path]) -> None:
    results = run_on_cluster(half, [4, 3, 4, 2], models["int8"], scheduler)
    height = MemoSegmenter(models["int8"]).height
    assert [str(each) if isinstance(each, UserError) else each for each in results] == [
        (2, height), "3 is odd: expected an even number", (2, height), (1, height),
    ]  # fmt: skip


def test_a_task_whose_worker_is_lost_runs_on_another(scheduler: str, models: dict[str, Path], tmp_path: Path) -> None:
    assert run_on_cluster(end_once, [tmp_path / "marker"], models["int8"], scheduler) == ["done"]


def test_a_task_that_ends_every_worker_is_one_line(scheduler: str, models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"a task ended \d workers: their memory may be short"):
        run_on_cluster(end, [1], models["int8"], scheduler)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://"])
def test_a_scheduler_that_does_not_answer_is_one_line(
    address: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    monkeypatch.setattr("edge.evaluation.cluster.CONNECT_S", 1.0)
    with pytest.raises(UserError, match=rf"no scheduler answers at {address} .*: start `dask scheduler`") as caught:
        run_on_cluster(half, [4], models["int8"], address)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.evaluation.cluster.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fireseg-edge\[dask\]'"):
        run_on_cluster(half, [4], Path("model"), "tcp://127.0.0.1:1")


def test_workers_with_other_versions_or_another_model_are_refused(models: dict[str, Path]) -> None:
    own = description(models["int8"])
    check_workers({"tcp://10.0.0.6:1": own}, own)
    for name in own:
        with pytest.raises(UserError, match=r"tcp://10.0.0.6:1 has .*: expected .*, as on this machine"):
            check_workers({"tcp://10.0.0.6:1": own | {name: "0.0"}}, own)
    with pytest.raises(UserError, match="the scheduler has no workers"):
        check_workers({}, own)
