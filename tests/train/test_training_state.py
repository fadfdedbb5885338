"""The state of a run: which epoch is the best, when a phase is done, and which states are refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from tests.support.tiny_run import DATA_SHA256, TINY, train
from train.model.losses import TEMPERATURE
from train.recipe import Phase
from train.training_state import MONITOR, Row, TrainingState

PATIENT = Phase("frozen", 25, 1e-3, encoder=False, batchnorm=True, cosine=False, patience=3)
ENDLESS = replace(PATIENT, name="finetune", epochs=4, patience=None)


def rows(*losses: float, phase: str = "frozen") -> list[Row]:
    return [{"phase": phase, "epoch": number + 1, MONITOR: loss} for number, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "done"),
    [
        ([], False),
        ([1.0, 2.0, 3.0], False),
        ([1.0, 2.0, 3.0, 4.0], True),
        ([3.0, 2.0, 1.0, 0.9, 0.8, 0.7], False),
        ([3.0, 1.0, 2.0, 2.0, 2.0], True),
        ([3.0, 1.0, 1.0, 1.0, 1.0], True),  # a tie is no improvement
        ([3.0, 1.0, 2.0, 2.0, 0.9], False),
        ([1.0 / (n + 1) for n in range(24)], False),
        ([1.0 / (n + 1) for n in range(25)], True),
    ],
)
def test_a_phase_with_patience_ends_by_stalling_or_by_its_epochs(losses: list[float], done: bool) -> None:
    assert TrainingState({}, DATA_SHA256, rows(*losses)).is_done(PATIENT) is done


def test_a_phase_without_patience_ends_by_its_epochs_alone() -> None:
    for epochs in (3, 4):
        history = rows(*range(epochs), phase="finetune")
        assert TrainingState({}, DATA_SHA256, history).is_done(ENDLESS) == (epochs == 4)


def test_a_phase_counts_its_own_epochs_only() -> None:
    state = TrainingState({}, DATA_SHA256, rows(0.1, 2, 3, 4) + rows(1.0, 0.9, phase="finetune"))
    assert state.is_done(PATIENT) and not state.is_done(ENDLESS)
    assert not state.is_done(replace(ENDLESS, patience=2)), "the frozen phase's best does not count against it"


def begin_run(out: Path, recipe: dict[str, Any] | None = None, data_sha256: str = DATA_SHA256) -> None:
    """Write the state of a run that has not finished an epoch."""
    state = TrainingState(asdict(TINY) if recipe is None else recipe, data_sha256, temperature=TEMPERATURE)
    (out / "state.json").write_text(json.dumps(asdict(state)))


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    begin_run(tmp_path)
    with pytest.raises(UserError, match="already holds a training run: pass --resume to continue it"):
        train(tmp_path)


def test_a_run_of_another_recipe_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    begin_run(tmp_path)
    with pytest.raises(UserError, match="was trained with another finetune_lr, seed: resume with the same"):
        train(tmp_path, replace(TINY, finetune_lr=0.1, seed=9), resume=True)


def test_a_run_of_other_data_is_refused(tmp_path: Path) -> None:
    begin_run(tmp_path, data_sha256="cd" * 32)
    with pytest.raises(UserError, match="was trained on other data: resume with the same --data, --split, --extra"):
        train(tmp_path, resume=True)


@pytest.mark.parametrize("name", ["augment", "finetune_batchnorm", "bn_frozen_epochs"])
def test_a_field_newer_than_a_run_was_at_its_default(tmp_path: Path, name: str) -> None:
    begin_run(tmp_path, {key: value for key, value in asdict(TINY).items() if key != name})
    other = replace(TINY, augment="strong", finetune_batchnorm=True, bn_frozen_epochs=1)
    changed = replace(TINY, **{name: getattr(other, name)})
    with pytest.raises(UserError, match=f"was trained with another {name}:"):
        train(tmp_path, changed, resume=True)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param({}, r"1\.0", id="begun before the loss had one"),
        pytest.param({"temperature": 2.5}, r"2\.5", id="another"),
        pytest.param({"temperature": "hot"}, "hot", id="not a number"),
        pytest.param({"temperature": None}, "None", id="null"),
    ],
)
def test_a_run_of_another_temperature_of_the_loss_is_refused(
    tmp_path: Path, written: dict[str, Any], shown: str
) -> None:
    begin_run(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    del state["temperature"]
    (tmp_path / "state.json").write_text(json.dumps(state | written))
    with pytest.raises(UserError, match=rf"with a loss of temperature {shown}, now it is 1\.6: pass another --out"):
        train(tmp_path, resume=True)


def test_a_run_of_another_backend_is_refused(tmp_path: Path) -> None:
    begin_run(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"backend": "mxnet"}))
    with pytest.raises(UserError, match="was begun with KERAS_BACKEND=mxnet: resume with the same"):
        train(tmp_path, resume=True)


def test_a_run_begun_under_old_field_names_is_refused_in_one_line(tmp_path: Path) -> None:
    begin_run(tmp_path, {**asdict(TINY), "whole_epochs": 6, "frozen_rate": 1e-3})
    expected = r"by another version, whose recipe has frozen_rate, whole_epochs: pass another --out"
    with pytest.raises(UserError, match=expected):
        train(tmp_path, resume=True)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"recipe": {}}', '{"surprise": 1}', "[1, 2]", "null", pytest.param("[" * 100_000, id="nested")]
    + [json.dumps({"recipe": recipe, "data_sha256": "", "history": rows}) for recipe, rows in (([], []), ({}, [3]))],
)
def test_a_damaged_state_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(UserError, match=r"state\.json is not a run's state .* start again"):
        train(tmp_path, resume=True)
