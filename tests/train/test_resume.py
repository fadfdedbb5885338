"""A run that is killed or stopped at any moment resumes to the same curve."""

from __future__ import annotations

import inspect
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

pytestmark = pytest.mark.slow

# Trains TINY and dies by SIGKILL when it is about to draw one batch: epoch and index are arguments.
CHILD = """
import os, signal, sys
from pathlib import Path
import keras
import numpy as np
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


class Stop(Exception):
    """Ends a run in this process where a power cut would end it in another."""


def stop_when(patch: pytest.MonkeyPatch, name: str, is_time: Callable[..., bool]) -> None:
    """Stop the run when it calls this function of `train.fit` with arguments that `is_time` picks."""
    original = getattr(fitting, name)

    def stop_or_call(*args: Any, **options: Any) -> Any:
        if is_time(*args, **options):
            raise Stop
        return original(*args, **options)

    patch.setattr(fitting, name, stop_or_call)


MOMENTS: dict[str, tuple[str, Callable[..., bool], int]] = {
    "between the phases": ("set_trainable", lambda model, encoder, batchnorm: encoder, 2),
    "after the model, before the state": ("write_json", lambda path, state: len(state["history"]) == 3, 2),
    "after the state, before the best model": (
        "_update_best",
        lambda model, state, out: len(state.history) == state.history[-1]["epoch"] == 4,
        4,
    ),
    "after the best model, before its epoch is in the state": (
        "write_json",
        lambda path, state: state["best_epoch"] == 2,
        2,
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_stopped_at_any_moment_resumes_to_the_same_curve(whole_run: Path, tmp_path: Path, moment: str) -> None:
    name, is_time, epochs = MOMENTS[moment]
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        stop_when(patch, name, is_time)
        train(out)
    assert len(curve(out)) == epochs
    train(out, resume=True)
    assert_same_run(out, whole_run)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_run_stopped_before_or_in_its_last_phase_resumes_to_the_same_curve(tmp_path: Path, epochs: int) -> None:
    recipe = replace(TINY, frozen_epochs=1, finetune_epochs=1, finetune_batchnorm=True, bn_frozen_epochs=2)
    train(tmp_path / "whole", recipe)
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        stop_when(patch, "_write_history", lambda history, path: len(history) == epochs)
        train(out, recipe)
    assert len(curve(out)) == epochs
    train(out, recipe, resume=True)
    assert_same_run(out, tmp_path / "whole")


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
    assert run_child(3, 2) == -signal.SIGKILL
    assert len(curve(out)) == 3
    assert run_child(-1, -1) == 0
    assert_same_run(out, whole_run)
