"""`fit --distribute`: the same curve on several devices as on one; one line for what cannot be divided.

The devices are simulated on the CPU, in child processes: JAX counts its devices once.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_run import TRAINING
from train.data.batches import Batches
from train.data.devices import Devices

ROOT = Path(__file__).parents[2]
# JAX spends nearly all of these tests in LLVM's optimization of code that runs once.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
TOLERANCE = 1e-4
"""Relative, of losses: the order of additions differs between one device and several."""

# Trains in sys.argv[1] with the batch size sys.argv[2]; a fourth argument ends it after this epoch.
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from train.backend import load_keras_backend
from train.distribution import data_parallel, join_hosts
distribute = sys.argv[3] == "distribute"
load_keras_backend(prepare=join_hosts if distribute else lambda: None)
from tests.support import tiny_run
from train import fit as fitting
recipe = replace(tiny_run.TINY, batch_size=int(sys.argv[2]), frozen_epochs=2, finetune_batchnorm=True)
distribution = data_parallel(recipe.batch_size) if distribute else None
fitting.build_unet = tiny_run.small_network
write_history = fitting._write_history
def write_and_end(history, path):
    write_history(history, path)
    if len(sys.argv) > 4 and len(history) == int(sys.argv[4]):
        raise SystemExit(0)
fitting._write_history = write_and_end
fitting.fit(
    recipe, tiny_run.TRAINING, tiny_run.VALIDATION, Path(sys.argv[1]), data_sha256=tiny_run.DATA_SHA256, resume=True,
    distribution=distribution,
)
"""


def flags(devices: int) -> str:
    return f"--xla_force_host_platform_device_count={devices} {QUICK_COMPILATION}"


def start(devices: int, *arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags(devices)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=1800)
        assert process.returncode == 0, errors


def history(out: Path) -> list[dict[str, Any]]:
    rows = json.loads((out / "state.json").read_text())["history"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_curve(out: Path, reference: Path) -> None:
    mine, theirs = history(out), history(reference)
    assert [row["epoch"] for row in mine] == [row["epoch"] for row in theirs] == [1, 2, 3, 4]
    for row, expected in zip(mine, theirs, strict=True):
        for name in ("loss", "val_loss"):
            assert row[name] == pytest.approx(expected[name], rel=TOLERANCE), (name, row["epoch"])


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on one device with a global batch of 8: an epoch ends with a batch of 4."""
    out = tmp_path_factory.mktemp("single")
    finish(start(1, out, 8, "alone"))
    return out


@pytest.mark.slow
def test_two_devices_give_the_curve_of_one_with_the_same_global_batch(single: Path, tmp_path: Path) -> None:
    finish(start(2, tmp_path, 8, "distribute"))
    assert_same_curve(tmp_path, single)


@pytest.mark.slow
def test_a_distributed_run_resumes_in_each_phase_to_the_same_curve(single: Path, tmp_path: Path) -> None:
    for last_epoch in (1, 3):
        finish(start(2, tmp_path, 8, "distribute", last_epoch))
        assert len(history(tmp_path)) == last_epoch
    finish(start(2, tmp_path, 8, "distribute"))
    assert_same_curve(tmp_path, single)


@pytest.mark.slow
def test_two_processes_with_a_shared_folder_give_the_curve_of_one(single: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hosts = [
        {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
        for number in range(2)
    ]
    finish(*(start(1, tmp_path, 8, "distribute", environment=host) for host in hosts))
    assert_same_curve(tmp_path, single)


def test_the_hosts_shares_are_the_batch_in_order() -> None:
    whole = Batches(TRAINING, 8, seed=1)
    shares = [Batches(TRAINING, 8, seed=1, devices=Devices(4, hosts=2, host=host)) for host in range(2)]
    for index in range(len(whole)):
        parts = [share[index] for share in shares]
        for images, expected in zip(map(np.concatenate, zip(*parts, strict=True)), whole[index], strict=True):
            assert np.array_equal(images, expected)


def test_an_epoch_leaves_out_less_than_one_image_for_each_device_and_others_in_each_epoch() -> None:
    batches = Batches(TRAINING, 10, seed=1, devices=Devices(5))  # of 12 images
    assert [len(batches[index][0]) for index in range(len(batches))] == [10]
    left_out = []
    for epoch in range(4):
        batches.start_epoch(epoch)
        left_out.append(frozenset(range(12)) - frozenset(batches.order.tolist()))
    assert {len(each) for each in left_out} == {2}
    assert len(set(left_out)) > 1


def refused(devices: int, batch_size: int, backend: str = "jax", **hosts: str) -> str:
    command = [sys.executable, "-c", "from train.cli import run; run()", "fit", "--distribute", "--size", "32"]
    done = subprocess.run(
        [*command, "--batch-size", str(batch_size)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": flags(devices)} | hosts,
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.slow
def test_a_batch_that_the_devices_cannot_share_is_refused() -> None:
    assert refused(3, 8) == ("error: --batch-size 8 cannot be divided among 3 devices: expected a multiple of 3\n")


@pytest.mark.slow
def test_other_backends_are_refused() -> None:
    assert refused(1, 8, backend="tensorflow") == (
        "error: --distribute does not work with Keras on tensorflow: set KERAS_BACKEND=jax\n"
    )


@pytest.mark.slow
def test_hosts_that_are_half_described_are_refused() -> None:
    assert "could not be joined" in refused(1, 8, KERAS_DISTRIBUTION_JOB_ADDRESSES="127.0.0.1:1")
