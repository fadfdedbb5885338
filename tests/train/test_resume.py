"""A run killed or stopped at any moment resumes to the same curve, and another one is not resumed."""

from __future__ import annotations

import inspect
import json
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

from edge.errors import UserError
from tests.support.tiny_run import DATA, LEARN, SIDE_PX, TINY, VALIDATE, assert_same_run, curve, small_network, train
from train import fit as fitting

# Trains what TINY says, and dies by SIGKILL when it is about to draw one batch: epoch and index are arguments.
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

class Mortal(Batches):
    def __getitem__(self, index):
        if self.seed is not None and [self.epoch, index] == DEATH:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

DEATH = [int(number) for number in sys.argv[3:5]]
fitting.Batches = Mortal
data = np.load(sys.argv[2])
parts = [Examples(data[part + "_images"], data[part + "_masks"]) for part in ("learn", "validate")]
tiny = Recipe(**{**RECIPE, "model": UNetConfig(**RECIPE["model"])})
fitting.fit(tiny, *parts, Path(sys.argv[1]), data_sha256=SHA256, resume=True, verbose=0)
"""


def test_resuming_a_finished_run_changes_nothing(whole_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.is_file()}
    assert train(whole_run, resume=True).output_shape == (None, SIDE_PX, SIDE_PX, 1)
    assert {path: path.stat().st_mtime_ns for path in whole_run.iterdir() if path.is_file()} == before


def test_a_run_is_not_written_over(whole_run: Path) -> None:
    with pytest.raises(UserError, match="already holds a training run: pass --resume to go on with it"):
        train(whole_run)


def test_a_run_of_another_recipe_is_not_resumed_and_what_differs_is_named(whole_run: Path) -> None:
    other = replace(TINY, whole_rate=0.1, model=replace(TINY.model, decoder="transposed"))
    with pytest.raises(UserError, match="was trained with another model, whole_rate: resume with the same"):
        train(whole_run, other, resume=True)


def test_a_run_on_other_data_is_not_resumed(whole_run: Path) -> None:
    with pytest.raises(UserError, match="was trained on other data: resume with the same --data, --split, --extra"):
        train(whole_run, data_sha256="cd" * 32, resume=True)


def test_a_run_begun_before_the_recipe_had_some_field_is_one_of_that_fields_default(
    whole_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    state = json.loads((out / "state.json").read_text())
    for field in ("augment", "whole_batch_norm", "settle_epochs"):
        del state["recipe"][field]
    del state["recipe"]["model"]["decoder"]
    (out / "state.json").write_text(json.dumps(state))
    train(out, resume=True)
    for change in ({"augment": "strong"}, {"whole_batch_norm": True}, {"settle_epochs": 1}):
        with pytest.raises(UserError, match=f"was trained with another {next(iter(change))}:"):
            train(out, replace(TINY, **change), resume=True)


def test_a_run_begun_with_a_field_that_the_recipe_has_no_more_is_not_resumed(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    state = json.loads((out / "state.json").read_text())
    state["recipe"]["plain_epochs"] = 6
    (out / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"was trained with another plain_epochs: .* or pass another --out"):
        train(out, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recipe": {}}', '{"surprise": 1}', "[1, 2]", "null"])
def test_a_damaged_state_is_one_line_that_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(UserError, match=r"state\.json is not a run's state .* start again"):
        train(tmp_path, resume=True)


def test_resume_in_a_new_folder_simply_starts(tmp_path: Path) -> None:
    recipe = replace(TINY, frozen_epochs=1, whole_epochs=0)
    train(tmp_path / "new", recipe, resume=True)
    assert len(curve(tmp_path / "new")) == 1


class Stop(Exception):
    """Ends a run in this process where a power cut would end it in another."""


def stop_when(patch: pytest.MonkeyPatch, name: str, is_time: Callable[..., bool]) -> None:
    """Make a function of the training's stop the run, in place of its work, at a call that `is_time` picks."""
    work = getattr(fitting, name)

    def mortal(*args: Any, **options: Any) -> Any:
        if is_time(*args, **options):
            raise Stop
        return work(*args, **options)

    patch.setattr(fitting, name, mortal)


MOMENTS: dict[str, tuple[str, Callable[..., bool], int]] = {
    "between the phases": ("set_trainable", lambda model, encoder, batch_norm: encoder, 2),
    "after the model and before the state": ("write_json", lambda path, state: len(state["history"]) == 3, 2),
    "after the state and before the best model": (
        "_keep_best",
        lambda model, state, out: len(state.history) == state.history[-1]["epoch"] == 4,
        4,
    ),
    "after the best model and before the state says so": (
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
def test_a_run_stopped_while_it_settles_or_before_resumes_to_the_same_curve(tmp_path: Path, epochs: int) -> None:
    recipe = replace(TINY, frozen_epochs=1, whole_epochs=1, whole_batch_norm=True, settle_epochs=2)
    train(tmp_path / "whole", recipe)
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        stop_when(patch, "write_history", lambda history, path: len(history) == epochs)
        train(out, recipe)
    assert len(curve(out)) == epochs
    train(out, recipe, resume=True)
    assert_same_run(out, tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_of_each_phase_resumes_to_the_same_curve(
    whole_run: Path, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "data.npz",
        learn_images=LEARN.images, learn_masks=LEARN.masks,
        validate_images=VALIDATE.images, validate_masks=VALIDATE.masks,
    )  # fmt: skip
    out = tmp_path / "run"
    program = f"RECIPE = {asdict(TINY)!r}\nSHA256 = {DATA!r}\n"
    program += CHILD.replace("SMALL_NETWORK", inspect.getsource(small_network) + "\nfitting.build_unet = small_network")

    def live(epoch: int, index: int) -> int:
        command = [sys.executable, "-c", program, str(out), str(tmp_path / "data.npz"), str(epoch), str(index)]
        return subprocess.run(command, check=False, capture_output=True, timeout=300).returncode

    assert live(1, 1) == -signal.SIGKILL
    assert len(curve(out)) == 1
    assert live(3, 2) == -signal.SIGKILL
    assert len(curve(out)) == 3
    assert live(-1, -1) == 0
    assert_same_run(out, whole_run)
