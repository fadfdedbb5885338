"""Recordings on a real Dask cluster: the result of --jobs; workers that fail; one line for what cannot work."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.evaluation.cluster import check_workers, description, run_on_cluster
from edge.evaluation.recordings import Recording
from edge.evaluation.replay import MemoSegmenter
from tests.support.recordings import FIRE_FROM_S, pattern_recording, write_video
from tests.support.run_cli import Done, fireseg_edge, refused

pytestmark = pytest.mark.slow
PATIENT = {  # a busy machine is slow, not wrong
    "distributed.comm.timeouts.connect": "600s",
    "distributed.nanny.timeout": 600,
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.allowed-failures": 1,
}


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers: processes in a folder of their own."""
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    import dask

    with dask.config.set(PATIENT), pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr("edge.evaluation.cluster.CONNECT_S", 600.0)
        with contextlib.chdir(tmp_path_factory.mktemp("workers")):
            cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
            address: str = stack.enter_context(cluster).scheduler_address
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_video(folder / "fire.avi", pattern_recording(3))
    write_video(folder / "room.avi", pattern_recording(1, flames=False))
    (folder / "broken.avi").write_bytes(b"RIFF")
    lines = ("file,label,fire_from_s", f"fire.avi,fire,{FIRE_FROM_S}", "broken.avi,none,", "room.avi,none,")
    (folder / "events.csv").write_text("\n".join(lines))
    return folder


def evaluate(folder: Path, *arguments: object) -> Done:
    return fireseg_edge("evaluate", *arguments, "--model", "small", "--fps", 10, "--json", cwd=folder)


def half(segmenter: MemoSegmenter, recording: Recording) -> tuple[int, int]:
    if (number := int(recording.name)) % 2:
        raise UserError(f"{number} is odd", "expected an even number")
    return number // 2, segmenter.height


def end_once(_segmenter: MemoSegmenter, recording: Recording) -> str:
    """End the worker at the first call, as the kernel does when memory runs out."""
    if recording.path.exists():
        recording.path.unlink()
        os._exit(9)
    return "done"


def end(_segmenter: MemoSegmenter, _recording: Recording) -> None:
    os._exit(9)


def end_process(_segmenter: MemoSegmenter, recording: Recording) -> None:
    os.kill(int(recording.name), signal.SIGKILL)


def input_dtype(segmenter: MemoSegmenter, _recording: Recording) -> str:
    return str(segmenter.input_dtype)


def numbers(*values: int) -> list[Recording]:
    return [Recording(Path(str(value))) for value in values]


def test_a_cluster_gives_the_result_of_jobs(scheduler: str, folder: Path) -> None:
    here, there = evaluate(folder, "events.csv", "--jobs", 1), evaluate(folder, "events.csv", "--dask", scheduler)
    results = [json.loads(done.out) | {"peak_gb": None, "errors": None} for done in (here, there)]
    assert results[0] == results[1]
    assert results[0]["recordings"][0]["results"][0]["alarms_s"], "no alarm to compare"
    expected = "broken.avi is not a readable video: expected a whole MP4, AVI, MKV or similar"
    assert (refused(here), refused(there)) == ([expected], [f"{folder}/{expected}"])


def test_a_recording_that_a_worker_cannot_see_is_named(scheduler: str, folder: Path) -> None:
    seen_here = "/proc/self/cwd/room.avi"
    lines = refused(evaluate(folder, seen_here, "--dask", scheduler))
    bytes_here = (folder / "room.avi").stat().st_size
    assert len(lines) == 2
    for line in lines:
        worker, rest = line.split(", ", maxsplit=1)
        assert worker.startswith("on tcp://127.0.0.1:")
        reason = "unreadable (No such file or directory)"
        assert rest == f"{seen_here} is {reason}: expected {bytes_here} bytes, as on this machine"


def test_results_and_errors_keep_the_order_of_the_recordings(scheduler: str, models: dict[str, Path]) -> None:
    steps: list[int] = []
    results = run_on_cluster(half, numbers(4, 3, 8, 2), models["int8"], scheduler, on_done=lambda: steps.append(1))
    height = MemoSegmenter(models["int8"]).height
    assert [str(each) if isinstance(each, UserError) else each for each in results] == [
        (2, height), "3 is odd: expected an even number", (4, height), (1, height),
    ]  # fmt: skip
    assert len(steps) == 4


def test_a_recording_whose_worker_is_lost_runs_on_another(
    scheduler: str, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "marker").touch()
    assert run_on_cluster(end_once, [Recording(tmp_path / "marker")], models["int8"], scheduler) == ["done"]


def test_a_recording_that_ends_every_worker_is_named(scheduler: str, models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"^7 ended 2 workers: their memory may be short"):
        run_on_cluster(end, numbers(7), models["int8"], scheduler)


def test_a_model_that_is_exported_again_is_loaded_again(
    scheduler: str, models: dict[str, Path], tmp_path: Path
) -> None:
    for kind, expected in (("float32", "float32"), ("int8", "uint8")):
        shutil.copyfile(models[kind], tmp_path / "model.tflite")
        found = run_on_cluster(input_dtype, numbers(1, 2, 3, 4), tmp_path / "model.tflite", scheduler)
        assert set(found) == {expected}


def test_a_scheduler_that_is_gone_is_one_line(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    monkeypatch.setattr("edge.evaluation.cluster.CONNECT_S", 600.0)
    cluster = distributed.SubprocessCluster(n_workers=1)
    try:
        with cluster.get_client() as client:
            client.wait_for_workers(1, timeout=600)
        scheduler = cluster.scheduler
        with pytest.raises(UserError, match=r"^the scheduler at tcp://.* is gone: start it, and try again$"):
            run_on_cluster(end_process, numbers(scheduler.process.pid), models["int8"], scheduler.address)
    finally:
        with contextlib.suppress(OSError):  # without its scheduler
            cluster.close(timeout=5)


def test_a_worker_without_this_program_is_one_line(models: dict[str, Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    site_packages = str(Path(distributed.__file__).parents[1])
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster, cluster.get_client() as client:
        address = cluster.scheduler_address
        arguments = ("-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "1")
        worker = subprocess.Popen(
            [sys.executable, "-S", *arguments],  # without site, an editable installation is not seen
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": site_packages}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            client.wait_for_workers(1, timeout=600)
            with pytest.raises(
                UserError, match=r"^tcp://.* does not run fireseg-edge \(.*No module named 'edge'"
            ) as caught:
                run_on_cluster(half, numbers(4), models["int8"], address)
        finally:
            worker.kill()
            worker.wait()
    assert "\n" not in str(caught.value)
    assert ": install fireseg-edge[dask] " in str(caught.value)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://"])
def test_a_scheduler_that_does_not_answer_is_one_line(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs distributed: pip install '.[dask]'")
    monkeypatch.setattr("edge.evaluation.cluster.CONNECT_S", 1.0)
    (line,) = refused(evaluate(folder, "events.csv", "--dask", address))
    assert line.startswith(f"no scheduler answers at {address} (")
    assert ": start `dask scheduler`, and pass its address" in line


def test_without_the_package_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.evaluation.cluster.find_spec", lambda name: None)
    lines = refused(evaluate(folder, "events.csv", "--dask", "tcp://127.0.0.1:1"))
    assert lines == ["--dask needs the package distributed: pip install 'fireseg-edge[dask]'"]


def test_workers_with_other_versions_or_another_model_are_refused(models: dict[str, Path], folder: Path) -> None:
    own = description(models["int8"], [folder / "fire.avi"])
    check_workers({"tcp://10.0.0.6:1": own}, own)
    for name, value in own.items():
        line = f"on tcp://10.0.0.6:1, {name} is 0.0: expected {value}, as on this machine"
        with pytest.raises(UserError) as caught:
            check_workers({"tcp://10.0.0.6:1": own | {name: "0.0"}}, own)
        assert str(caught.value) == line
    with pytest.raises(UserError, match="the scheduler has no workers"):
        check_workers({}, own)
