"""A run that is killed or stopped at any moment resumes to the same curve."""

from __future__ import annotations

import inspect
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_run import (
    DATA_SHA256,
    SIDE_PX,
    TINY,
    TRAINING,
    VALIDATION,
    assert_same_run,
    curve,
    small_network,
    train,
)
from train import fit as fitting
from train.training_state import read_state, stalled_epochs

pytestmark = pytest.mark.slow

THREE_PHASES = replace(TINY, frozen_epochs=1, finetune_batchnorm=True, bn_frozen_epochs=2)

# Trains TINY and dies by SIGKILL when it is about to draw one batch: epoch and index are arguments.
CHILD = """
import os, signal, sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
from train import fit as fitting
from train.recipe import Recipe
from train.data.batches import Batches, Examples
from train.model.unet import UNetConfig

SMALL_NETWORK

class MortalBatches(Batches):
    def __getitem__(self, index):
        if self.seed is not None and [self.epoch, index] == DEATH:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

DEATH = [int(number) for number in sys.argv[3:5]]
tf.config.run_functions_eagerly(True)
fitting.Batches = MortalBatches
fitting.build_unet = small_network
data = np.load(sys.argv[2])
parts = [Examples(data[part + "_images"], data[part + "_masks"]) for part in ("training", "validation")]
fitting.fit(Recipe(**RECIPE), *parts, Path(sys.argv[1]), data_sha256=SHA256, resume=True)
"""


def test_resuming_a_finished_run_changes_nothing(whole_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.is_file()}
    assert train(whole_run, resume=True).output_shape == (None, SIDE_PX, SIDE_PX, 1)
    assert {path: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.is_file()} == before


def test_resume_in_a_new_folder_starts_a_run(tmp_path: Path) -> None:
    train(tmp_path / "new", replace(TINY, frozen_epochs=1, finetune_epochs=0), resume=True)
    assert len(curve(tmp_path / "new")) == 1


# Function of `train.fit`, when to look at its arguments, and the number of complete epochs by then; None: the best one.
MOMENTS: dict[str, tuple[str, Callable[..., bool], int | None]] = {
    "between the phases": ("set_trainable", lambda model, encoder, batchnorm: encoder and batchnorm, 1),
    "after the model, before the state": (
        "write_json",
        lambda path, state: len(state["history"]) == 2 != state["best_epoch"],
        1,
    ),
    "after the state, before the best model": (
        "_update_best",
        lambda model, state, out, average: not stalled_epochs(state.history),
        None,
    ),
    "after the best model, before its epoch is in the state": (
        "write_json",
        lambda path, state: state["best_epoch"] == len(state["history"]),
        None,
    ),
    "before the last phase": ("_write_history", lambda history, path: len(history) == 3, 3),
    "in the last phase": ("_write_history", lambda history, path: len(history) == 4, 4),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of one run as a kill at each moment leaves it, and "whole", the run's end."""
    root = tmp_path_factory.mktemp("moments")
    folders = {moment: root / str(number) for number, moment in enumerate(MOMENTS)} | {"whole": root / "whole"}

    def copy_when(patch: pytest.MonkeyPatch, name: str, is_time: Callable[..., bool], copy: Path) -> None:
        original = getattr(fitting, name)

        def copy_and_call(*args: Any, **options: Any) -> Any:
            if is_time(*args, **options):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(folders["whole"], copy)
            return original(*args, **options)

        patch.setattr(fitting, name, copy_and_call)

    with pytest.MonkeyPatch.context() as patch:
        for moment, (name, is_time, _) in MOMENTS.items():
            copy_when(patch, name, is_time, folders[moment])
        train(folders["whole"], THREE_PHASES)
    return folders


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_stopped_at_any_moment_resumes_to_the_same_curve(folders: dict[str, Path], moment: str) -> None:
    out = folders[moment]
    assert len(curve(out)) == (MOMENTS[moment][2] or read_state(folders["whole"]).best_epoch)
    train(out, THREE_PHASES, resume=True)
    assert_same_run(out, folders["whole"])


def test_a_run_killed_within_an_epoch_of_each_phase_resumes_to_the_same_curve(whole_run: Path, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "data.npz",
        training_images=TRAINING.images, training_masks=TRAINING.masks,
        validation_images=VALIDATION.images, validation_masks=VALIDATION.masks,
    )  # fmt: skip
    out = tmp_path / "run"
    program = f"RECIPE = {asdict(TINY)!r}\nSHA256 = {DATA_SHA256!r}\n"
    program += CHILD.replace("SMALL_NETWORK", inspect.getsource(small_network))

    def run_child(epoch: int, index: int) -> int:
        command = [sys.executable, "-c", program, str(out), str(tmp_path / "data.npz"), str(epoch), str(index)]
        return subprocess.run(command, check=False, capture_output=True, timeout=1800).returncode

    assert run_child(1, 1) == -signal.SIGKILL
    assert len(curve(out)) == 1
    assert run_child(3, 1) == -signal.SIGKILL
    assert len(curve(out)) == 3
    train(out, resume=True)
    assert_same_run(out, whole_run)
