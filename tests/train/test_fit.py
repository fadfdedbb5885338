"""A training: what a run leaves behind, what learns when, when it stops, and which recipes are refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edge.errors import UserError
from tests.support.tiny_run import DATA, LEARN, TINY, VALIDATE, curve, small_network, train, weights
from train import fit as fitting
from train.data.batches import Batches, Examples
from train.fit import fit
from train.model.losses import BCEDice
from train.model.unet import UNetConfig
from train.recipe import Phase
from train.run_state import MONITOR, Row, TrainingState, read_state, stalled_epochs

PATIENT = Phase("frozen", 25, 1e-3, encoder=False, batch_norm=True, cosine=False, patience=3)
ENDLESS = replace(PATIENT, name="whole", epochs=4, patience=None)


def rows(*losses: float, phase: str = "frozen") -> list[Row]:
    return [{"phase": phase, "epoch": number + 1, MONITOR: loss} for number, loss in enumerate(losses)]


def test_a_run_leaves_its_best_model_its_last_its_state_and_its_table(whole_run: Path) -> None:
    assert {path.name for path in whole_run.iterdir()} - {"tensorboard"} == {
        "best.keras",
        "history.csv",
        "last-004.keras",
        "state.json",
    }
    assert [(row["phase"], row["epoch"]) for row in curve(whole_run)] == [
        ("frozen", 1),
        ("frozen", 2),
        ("whole", 3),
        ("whole", 4),
    ]


def test_the_best_model_carries_no_optimizer_and_the_last_one_does(whole_run: Path) -> None:
    best, last = (keras.models.load_model(whole_run / file) for file in ("best.keras", "last-004.keras"))
    assert getattr(best, "optimizer", None) is None
    assert last.optimizer is not None
    with zipfile.ZipFile(whole_run / "best.keras") as archive:
        assert not json.loads(archive.read("config.json"))["compile_config"]
    assert (whole_run / "best.keras").stat().st_size < (whole_run / "last-004.keras").stat().st_size


def test_the_best_model_is_the_one_with_the_lowest_loss_on_validation(whole_run: Path, tmp_path: Path) -> None:
    model = keras.models.load_model(whole_run / "best.keras")
    model.compile(loss=BCEDice())
    loss = model.evaluate(Batches(VALIDATE, TINY.batch_size), verbose=0)
    assert loss == pytest.approx(min(row["val_loss"] for row in curve(whole_run)), rel=1e-4)


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_unet", small_network)
        recipe = replace(TINY, validation=0.0)
        nothing = Examples(LEARN.images[:0], LEARN.masks[:0])
        fit(recipe, LEARN, nothing, tmp_path, data_sha256=DATA, resume=False, verbose=0)
    state = read_state(tmp_path)
    assert [row["epoch"] for row in state.history] == [1, 2, 3, 4]
    assert not any(name.startswith("val_") for row in state.history for name in row)
    assert state.best_epoch == 4
    for best, last in zip(weights(tmp_path, "best.keras"), weights(tmp_path, str(state.last)), strict=False):
        assert np.array_equal(best, last)


def test_the_table_holds_the_history(whole_run: Path) -> None:
    with (whole_run / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    history = read_state(whole_run).history
    assert [int(row["epoch"]) for row in table] == [1, 2, 3, 4]
    for row, kept in zip(table, history, strict=True):
        assert row["phase"] == kept["phase"]
        for name in ("loss", "fire_iou", "val_loss", "val_fire_iou", "seconds"):
            assert float(row[name]) == kept[name]


def test_the_encoder_stands_still_while_it_is_frozen(tmp_path: Path) -> None:
    keras.utils.set_random_seed(TINY.seed)
    initial = small_network(TINY.model)
    trained = train(tmp_path / "run", replace(TINY, whole_epochs=0, frozen_epochs=1))
    for layer in initial.layers:
        pairs = zip(layer.weights, trained.get_layer(layer.name).weights, strict=True) if layer.weights else []
        for before, after in pairs:
            same = (before.numpy() == after.numpy()).all()
            assert same == layer.name.startswith("encoder_"), after.path


def test_each_epoch_draws_its_own_batches_through_both_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class PageContext(Batches):
        def start_epoch(self, epoch: int) -> None:
            super().start_epoch(epoch)
            started.append(epoch)

    monkeypatch.setattr(fitting, "Batches", PageContext)
    train(tmp_path / "run", replace(TINY, frozen_epochs=2, whole_epochs=1))
    # Made at 0: one to learn from and one to validate on, in each of the two phases.
    assert started == [0, 0, 0, 1, 0, 0, 2]


@pytest.mark.parametrize("learns", [False, True])
def test_batch_norm_stands_still_in_the_whole_network_unless_it_is_asked_to_learn(tmp_path: Path, learns: bool) -> None:
    keras.utils.set_random_seed(TINY.seed)
    before = small_network(TINY.model).get_layer("encoder_1_bn").weights
    trained = train(tmp_path / "run", replace(TINY, frozen_epochs=0, whole_epochs=1, whole_batch_norm=learns))
    for one, other in zip(before, trained.get_layer("encoder_1_bn").weights, strict=True):
        assert (one.numpy() != other.numpy()).any() == learns, one.path


def test_a_run_settles_after_batch_norm_has_learnt_its_weights_moving_and_its_statistics_still(tmp_path: Path) -> None:
    learning = replace(TINY, frozen_epochs=0, whole_epochs=1, whole_batch_norm=True)
    train(tmp_path / "before", learning)
    train(tmp_path / "after", replace(learning, settle_epochs=2))
    assert [row["phase"] for row in curve(tmp_path / "after")] == ["whole", "settle", "settle"]
    before, after = (
        keras.models.load_model(tmp_path / run, compile=False)
        for run in ("before/last-001.keras", "after/last-003.keras")
    )
    for layer in (layer for layer in before.layers if layer.weights):
        for one, other in zip(layer.weights, after.get_layer(layer.name).weights, strict=True):
            assert (one.numpy() == other.numpy()).all() == layer.name.endswith("_bn"), one.path


@pytest.mark.parametrize(("frozen", "whole", "handed_on"), [(0, 2, "last-002.keras"), (2, 0, "best.keras")])
def test_settling_begins_where_the_whole_phase_ended_and_at_the_best_that_patience_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: int, whole: int, handed_on: str
) -> None:
    """The validation masks are turned over, so that whatever is learnt makes the first epoch the best."""
    monkeypatch.setattr("tests.support.tiny_run.VALIDATE", Examples(VALIDATE.images, 1 - VALIDATE.masks))
    recipe = replace(TINY, frozen_epochs=frozen, whole_epochs=whole, whole_rate=0.01)
    train(tmp_path, recipe)
    assert read_state(tmp_path).best_epoch == 1
    expected = weights(tmp_path, handed_on)
    begun: list[list[Any]] = []
    compiled = fitting.compile_phase

    def told(model: keras.Model, phase: Phase, steps: int) -> None:
        begun.append([weight.numpy() for weight in model.weights])
        compiled(model, phase, steps)

    monkeypatch.setattr(fitting, "compile_phase", told)
    shutil.rmtree(tmp_path)
    train(tmp_path, replace(recipe, settle_epochs=1))
    for one, other in zip(begun[-1], expected, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_settling_rises_to_a_rate_of_its_own(tmp_path: Path) -> None:
    train(tmp_path, replace(TINY, frozen_epochs=0, whole_epochs=1, settle_epochs=2, settle_rate=0.02))
    schedule = keras.models.load_model(tmp_path / "last-003.keras").optimizer.get_config()["learning_rate"]["config"]
    assert schedule["warmup_target"] == 0.02
    assert schedule["warmup_steps"] == schedule["decay_steps"] == len(LEARN) // TINY.batch_size


def test_mixed_precision_trains_at_half_and_leaves_a_best_model_at_full(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trained = train(out, replace(TINY, mixed_precision=True))
    last = keras.models.load_model(out / "last-004.keras")
    computes = {layer.name: layer.compute_dtype for layer in last.layers if layer.weights}
    assert set(computes.values()) == {"bfloat16"} and last.outputs[0].dtype == "float32"
    assert {layer.compute_dtype for layer in trained.layers} == {"float32"}
    assert {variable.dtype for variable in last.trainable_variables} == {"float32"}
    assert last.compiled
    assert curve(out)[-1]["loss"] == pytest.approx(curve(whole_run)[-1]["loss"], rel=0.05)
    assert curve(out)[-1]["loss"] != curve(whole_run)[-1]["loss"]


def test_a_strongly_augmented_run_learns_from_other_batches_than_a_plain_one(tmp_path: Path) -> None:
    drawn = []

    class PageContext(Batches):
        def __getitem__(self, index: int) -> Any:
            batch = super().__getitem__(index)
            if self.seed is not None and (self.epoch, index) == (0, 0):
                drawn.append(batch[0])
            return batch

    for name in ("plain", "strong"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fitting, "Batches", PageContext)
            train(tmp_path / name, replace(TINY, frozen_epochs=1, whole_epochs=0, augment=name))
    plain, strong = (Batches(LEARN, TINY.batch_size, seed=TINY.seed, strong=strong)[0][0] for strong in (False, True))
    assert any((batch == plain).all() for batch in drawn) and any((batch == strong).all() for batch in drawn)


def test_a_folder_that_cannot_be_made_is_refused_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose a folder that you may write to"):
        train(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("losses", "stalled"),
    [
        ([], 0),
        ([1.0], 0),
        ([1.0, 0.9, 0.8], 0),
        ([1.0, 0.9, 0.95], 1),
        ([0.5, 0.6, 0.6, 0.7], 3),
        ([0.5, 0.5, 0.5], 2),  # as good is no better
        ([0.5, 0.9, 0.4, 0.8, 0.3], 0),
    ],
)
def test_stalled_epochs_are_those_since_the_best(losses: list[float], stalled: int) -> None:
    assert stalled_epochs(rows(*losses)) == stalled


@pytest.mark.parametrize(
    ("losses", "done"),
    [
        ([], False),
        ([1.0, 2.0, 3.0], False),
        ([1.0, 2.0, 3.0, 4.0], True),
        ([3.0, 2.0, 1.0, 0.9, 0.8, 0.7], False),
        ([3.0, 1.0, 2.0, 2.0, 2.0], True),
        ([3.0, 1.0, 2.0, 2.0, 0.9], False),
        ([1.0 / (n + 1) for n in range(24)], False),
        ([1.0 / (n + 1) for n in range(25)], True),
    ],
)
def test_a_patient_phase_ends_by_stalling_or_by_its_number_of_epochs(losses: list[float], done: bool) -> None:
    assert TrainingState({}, DATA, rows(*losses)).is_done(PATIENT) is done


def test_a_phase_without_patience_ends_by_its_number_of_epochs_alone() -> None:
    assert not TrainingState({}, DATA, rows(1, 2, 3, phase="whole")).is_done(ENDLESS)
    assert TrainingState({}, DATA, rows(1, 2, 3, 4, phase="whole")).is_done(ENDLESS)


def test_a_phase_counts_its_own_epochs_only() -> None:
    state = TrainingState({}, DATA, rows(0.1, 2, 3, 4) + rows(1.0, 0.9, phase="whole"))
    assert state.is_done(PATIENT) and not state.is_done(ENDLESS)
    assert not state.is_done(replace(ENDLESS, patience=2)), "the frozen phase's best does not count against it"


def test_a_phase_that_stalls_is_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def let_nothing_learn(model: keras.Model, **_: bool) -> None:
        model.trainable = False

    monkeypatch.setattr(fitting, "set_trainable", let_nothing_learn)
    train(tmp_path / "run", replace(TINY, frozen_epochs=12, patience=2, whole_epochs=1))
    assert [row["phase"] for row in curve(tmp_path / "run")] == ["frozen", "frozen", "frozen", "whole"]


def test_a_training_that_comes_apart_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="the loss is nan after epoch 1"):
        patch.setattr(fitting, "build_unet", small_network)
        patch.setattr(BCEDice, "call", lambda self, truth, predicted: (truth + predicted) * float("nan"))
        fit(TINY, LEARN, VALIDATE, tmp_path / "run", data_sha256=DATA, resume=False, verbose=0)
    assert not (tmp_path / "run" / "best.keras").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: expected at least 1"),
        ({"patience": 0}, "patience is 0: expected at least 1"),
        ({"frozen_epochs": 0, "whole_epochs": 0}, "0 frozen and 0 whole epochs: expected 1 or more in all"),
        ({"frozen_epochs": 0, "whole_epochs": 0, "settle_epochs": 2}, "0 frozen and 0 whole epochs"),
        ({"frozen_epochs": -1}, "-1 frozen and 2 whole epochs"),
        ({"settle_epochs": -1}, "settle_epochs is -1: expected at least 0"),
        ({"settle_rate": 2.0}, "settle_rate is 2.0"),
        ({"validation": 0.9}, "validation is 0.9: expected a share from 0 to 0.5"),
        ({"frozen_rate": 0.0}, "frozen_rate is 0.0: expected a learning rate between 0 and 1"),
        ({"whole_rate": 5.0}, "whole_rate is 5.0"),
        ({"whole_rate": float("nan")}, "whole_rate is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"model": UNetConfig(100, 100)}, "input height 100 px"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", replace(TINY, **change))
    assert not (tmp_path / "run").exists()


ONE_STEP = """
import keras
import numpy as np
from train.data.batches import Batches, Examples
from train.fit import compile_phase
from train.recipe import Phase
from train.model.fused_batchnorm import to_train
from train.model.unet import UNetConfig, build_unet

assert keras.backend.backend() == BACKEND
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
masks = (rng.random((4, 32, 32, 1)) < 0.2).astype(np.uint8)
batches = Batches(Examples(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), masks), 4, seed=0)
full = build_unet(UNetConfig(32, 32, "original", width=0.1), weights=None)
again = Batches(batches.examples, 4, seed=0)
assert all((a == b).all() for a, b in zip(batches[0], again[0], strict=True))
for model in (to_train(full), to_train(full, "mixed_bfloat16")):
    compile_phase(model, Phase("whole", 1, 1e-3, encoder=True, batch_norm=False, cosine=True, patience=None), steps=1)
    loss, iou = model.train_on_batch(*batches[0])
    assert np.isfinite(loss) and 0 <= iou <= 1, (loss, iou)
"""


SHIPPED_RECIPE = """
import tempfile
from pathlib import Path
import keras
import numpy as np
from train.data.batches import Examples
from train.fit import fit
from train.model.io import load_keras
from train.recipe import Recipe
from train.model.unet import UNetConfig

assert keras.backend.backend() == BACKEND
rng = np.random.default_rng(0)
masks = (rng.random((4, 32, 32, 1)) < 0.2).astype(np.uint8)
learn = Examples(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), masks)
recipe = Recipe(
    UNetConfig(32, 32, "mobilenetv2", "separable", width=0.35), None, frozen_epochs=1, whole_epochs=1,
    whole_batch_norm=True, settle_epochs=1, batch_size=2, augment="strong", validation=0, mixed_precision=True,
)
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "run"
    fit(recipe, learn, Examples(learn.images[:0], masks[:0]), out, data_sha256="ab" * 32, resume=False, verbose=0)
    trained = load_keras(out / "best.keras").predict(learn.images.astype(np.float32), verbose=0)
assert trained.shape == (4, 32, 32, 1) and np.isfinite(trained).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [ONE_STEP, SHIPPED_RECIPE], ids=["one step", "all phases of the shipped recipe"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_of_keras_trains_too(backend: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend} to train with it")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    program = f"BACKEND = {backend!r}\n{program}"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
