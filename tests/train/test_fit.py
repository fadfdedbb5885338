"""Training: the files of a run, which layers train in which phase, and when a run ends."""

from __future__ import annotations

import csv
import json
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
from edge.files import sha256
from tests.support.tiny_run import NO_IMAGES, TINY, TRAINING, VALIDATION, curve, small_network, train, weights
from train import fit as fitting
from train.data.batches import Batches, Examples
from train.model.losses import BCEDice
from train.training_state import read_state

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_run_leaves_best_and_last_model_state_and_history(whole_run: Path) -> None:
    files = {path.name for path in whole_run.iterdir()}
    assert files == {"best.keras", "history.csv", "last-004.keras", "state.json"}
    epochs = [(row["phase"], row["epoch"]) for row in curve(whole_run)]
    assert epochs == [("frozen", 1), ("frozen", 2), ("finetune", 3), ("finetune", 4)]
    with (whole_run / "history.csv").open() as file:
        for row, expected in zip(csv.DictReader(file), read_state(whole_run).history, strict=True):
            assert row == {name: str(value) for name, value in expected.items()}


def test_only_the_last_model_contains_the_optimizer(whole_run: Path) -> None:
    best, last = (keras.models.load_model(whole_run / file) for file in ("best.keras", "last-004.keras"))
    assert getattr(best, "optimizer", None) is None
    assert last.optimizer is not None
    with zipfile.ZipFile(whole_run / "best.keras") as archive:
        assert not json.loads(archive.read("config.json"))["compile_config"]
    assert (whole_run / "best.keras").stat().st_size < (whole_run / "last-004.keras").stat().st_size


def test_the_best_model_has_the_lowest_validation_loss(whole_run: Path) -> None:
    model = keras.models.load_model(whole_run / "best.keras")
    model.compile(loss=BCEDice())
    loss = model.evaluate(Batches(VALIDATION, TINY.batch_size), verbose=0)
    assert loss == pytest.approx(min(row["val_loss"] for row in curve(whole_run)), rel=1e-4)


def test_without_validation_the_last_epoch_is_the_best(tmp_path: Path) -> None:
    train(tmp_path, replace(TINY, validation=0.0, finetune_epochs=1), validation=NO_IMAGES)
    state = read_state(tmp_path)
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert not any(name.startswith("val_") for row in state.history for name in row)
    assert state.best_epoch == 3
    for best, last in zip(weights(tmp_path, "best.keras"), weights(tmp_path, str(state.last)), strict=False):
        assert np.array_equal(best, last)


def test_the_frozen_phase_changes_no_encoder_weight(tmp_path: Path) -> None:
    keras.utils.set_random_seed(TINY.seed)
    initial = small_network(TINY.model)
    trained = train(tmp_path, replace(TINY, finetune_epochs=0, frozen_epochs=1))
    for layer in (layer for layer in initial.layers if layer.weights):
        for before, after in zip(layer.weights, trained.get_layer(layer.name).weights, strict=True):
            same = (before.numpy() == after.numpy()).all()
            assert same == layer.name.startswith("encoder_"), after.path


def test_a_run_begins_from_the_weights_of_another_model(whole_run: Path, tmp_path: Path) -> None:
    recipe = replace(TINY, frozen_epochs=0, finetune_epochs=1, finetune_lr=1e-8, validation=0.0)
    train(tmp_path, recipe, start=whole_run / "best.keras", validation=NO_IMAGES)
    for before, after in zip(weights(whole_run, "best.keras"), weights(tmp_path, "best.keras"), strict=True):
        assert np.allclose(before, after, atol=1e-5)
    assert read_state(tmp_path).start_sha256 == sha256(whole_run / "best.keras")


def test_the_saved_model_is_the_average_of_the_start_and_the_trained_network(whole_run: Path, tmp_path: Path) -> None:
    recipe = replace(TINY, frozen_epochs=0, finetune_epochs=2, validation=0.0, start_weight=0.75)
    train(tmp_path, recipe, start=whole_run / "best.keras", validation=NO_IMAGES)
    names = (whole_run, "best.keras"), (tmp_path, str(read_state(tmp_path).last)), (tmp_path, "best.keras")
    changed = 0
    for start, trained, saved in zip(*(weights(*name) for name in names), strict=False):
        assert np.allclose(saved, 0.75 * start + 0.25 * trained, atol=1e-6)
        changed += not np.allclose(start, trained, atol=1e-4)
    assert changed


def test_an_average_needs_a_fine_tuning_of_the_whole_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start_weight needs a fine-tuning of the whole network: set frozen_epochs"):
        train(tmp_path, replace(TINY, start_weight=0.5))
    with pytest.raises(UserError, match="start_weight and validation exclude each other: set validation to 0"):
        train(tmp_path, replace(TINY, frozen_epochs=0, start_weight=0.5, validation=0.15))


def test_a_run_does_not_begin_from_another_network(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(1, 1)]).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match=r"other.keras is another network than that of width 0.35: pass the --width"):
        train(tmp_path / "run", start=tmp_path / "other.keras")


@pytest.mark.parametrize("batchnorm", [False, True])
def test_batchnorm_is_frozen_in_fine_tuning_unless_the_recipe_trains_it(tmp_path: Path, batchnorm: bool) -> None:
    keras.utils.set_random_seed(TINY.seed)
    before = small_network(TINY.model).get_layer("encoder_1_bn").weights
    trained = train(tmp_path, replace(TINY, frozen_epochs=0, finetune_epochs=1, finetune_batchnorm=batchnorm))
    for a, b in zip(before, trained.get_layer("encoder_1_bn").weights, strict=True):
        assert (a.numpy() != b.numpy()).any() == batchnorm, a.path


def test_the_last_phase_trains_all_but_batchnorm_at_its_own_learning_rate(tmp_path: Path) -> None:
    recipe = replace(TINY, frozen_epochs=0, finetune_epochs=1, finetune_batchnorm=True)
    # With graphs: the last phase must not train by that of the phase before.
    train(tmp_path / "before", recipe, eager=False)
    train(tmp_path / "after", replace(recipe, bn_frozen_epochs=2, bn_frozen_lr=0.02), eager=False)
    assert [row["phase"] for row in curve(tmp_path / "after")] == ["finetune", "bn_frozen", "bn_frozen"]
    before = keras.models.load_model(tmp_path / "before/last-001.keras", compile=False)
    after = keras.models.load_model(tmp_path / "after/last-003.keras")
    for layer in (layer for layer in before.layers if layer.weights):
        for a, b in zip(layer.weights, after.get_layer(layer.name).weights, strict=True):
            assert (a.numpy() == b.numpy()).all() == layer.name.endswith("_bn"), a.path
    schedule = after.optimizer.get_config()["learning_rate"]["config"]
    assert schedule["warmup_target"] == 0.02
    assert schedule["warmup_steps"] == schedule["decay_steps"] == len(TRAINING) // TINY.batch_size


@pytest.mark.parametrize(("frozen", "finetune", "initial"), [(0, 2, "last-002.keras"), (2, 0, "best.keras")])
def test_a_phase_starts_from_the_last_epoch_or_from_the_best_if_the_previous_had_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: int, finetune: int, initial: str
) -> None:
    inverted = Examples(VALIDATION.images, 1 - VALIDATION.masks)  # training makes it worse: the first epoch is the best
    recipe = replace(TINY, frozen_epochs=frozen, finetune_epochs=finetune, finetune_lr=0.01)
    train(tmp_path / "before", recipe, validation=inverted)
    assert read_state(tmp_path / "before").best_epoch == 1
    expected = weights(tmp_path / "before", initial)
    at_start: list[list[Any]] = []
    compile_phase = fitting.compile_phase

    def record(model: keras.Model, *arguments: Any, **options: Any) -> None:
        at_start.append([weight.numpy() for weight in model.weights])
        compile_phase(model, *arguments, **options)

    monkeypatch.setattr(fitting, "compile_phase", record)
    train(tmp_path / "after", replace(recipe, bn_frozen_epochs=1), validation=inverted)
    for a, b in zip(at_start[-1], expected, strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_mixed_precision_trains_in_bfloat16_and_saves_the_best_model_in_float32(
    whole_run: Path, tmp_path: Path
) -> None:
    trained = train(tmp_path, replace(TINY, mixed_precision=True))
    last = keras.models.load_model(tmp_path / "last-004.keras")
    assert {layer.compute_dtype for layer in last.layers if layer.weights} == {"bfloat16"}
    assert last.outputs[0].dtype == "float32" and last.compiled
    assert {layer.compute_dtype for layer in trained.layers} == {"float32"}
    assert {variable.dtype for variable in last.trainable_variables} == {"float32"}
    assert curve(tmp_path)[-1]["loss"] == pytest.approx(curve(whole_run)[-1]["loss"], rel=0.05)
    assert curve(tmp_path)[-1]["loss"] != curve(whole_run)[-1]["loss"]


def test_every_epoch_draws_its_own_batches_by_the_seed_and_augmentation_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    drawn: list[tuple[int | None, bool]] = []

    class RecordedBatches(Batches):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            drawn.append((options.get("seed"), options.get("strong", False)))

        def start_epoch(self, epoch: int) -> None:
            super().start_epoch(epoch)
            epochs.append(epoch)

    monkeypatch.setattr(fitting, "Batches", RecordedBatches)
    train(tmp_path, replace(TINY, frozen_epochs=2, finetune_epochs=1, augment="strong"))
    # Two objects start at 0: training and validation.
    assert epochs == [0, 0, 0, 1, 2]
    assert drawn == [(TINY.seed, True), (None, False)]


def test_a_phase_that_stops_improving_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze_everything(model: keras.Model, **_: bool) -> None:
        model.trainable = False

    monkeypatch.setattr(fitting, "set_trainable", freeze_everything)
    train(tmp_path, replace(TINY, frozen_epochs=12, patience=2, finetune_epochs=1))
    assert [row["phase"] for row in curve(tmp_path)] == ["frozen", "frozen", "frozen", "finetune"]


def test_a_training_that_diverges_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BCEDice, "call", lambda self, truth, predicted: (truth + predicted) * float("nan"))
    with pytest.raises(UserError, match="the loss is nan after epoch 1"):
        train(tmp_path)
    assert not (tmp_path / "best.keras").exists()


PROGRAM = """
import tempfile
from pathlib import Path
import keras
import numpy as np
from tests.support.tiny_run import small_network
from train import fit
from train.data.batches import Examples
from train.model.io import load_keras
from train.model.unet import build_unet
from train.recipe import Recipe

assert keras.backend.backend() == BACKEND
rng = np.random.default_rng(0)
masks = (rng.random((4, 32, 32, 1)) < 0.2).astype(np.uint8)
masks[::2] = 0
examples = Examples(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), masks)
recipe = Recipe(
    size="32", width=0.35, backbone_weights="none", frozen_epochs=1, finetune_epochs=1, finetune_batchnorm=True,
    bn_frozen_epochs=1, batch_size=2, augment="strong", validation=0, negative_weight=0.5, mixed_precision=True,
)

# One step of the U-Net: compiling all its phases takes minutes. The small network runs those.
unet = build_unet(recipe.model, weights=None)
fit.compile_phase(unet, recipe.phases()[1], steps=1, negative_weight=recipe.negative_weight)
before = [np.asarray(weight) for weight in unet.trainable_weights]
loss = unet.train_on_batch(examples.images[:2].astype(np.float32), masks[:2])[0]
after = [np.asarray(weight) for weight in unet.trainable_weights]
assert np.isfinite(loss) and all(np.isfinite(weights).all() for weights in after)
assert sum((a != b).any() for a, b in zip(before, after)) > 0.9 * len(before)

fit.build_unet = small_network
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "run"
    fit.fit(recipe, examples, Examples(examples.images[:0], masks[:0]), out, data_sha256="ab" * 32)
    trained = load_keras(out / "best.keras").predict(examples.images.astype(np.float32), verbose=0)
assert trained.shape == (4, 32, 32, 1) and np.isfinite(trained).all()
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_keras_backends_train_the_u_net_and_all_phases_of_the_shipped_recipe(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend} to train with it")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    # JAX spends nearly all of this test in LLVM's optimization of code that runs once.
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
    command = [sys.executable, "-c", f"BACKEND = {backend!r}\n{PROGRAM}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800, cwd=ROOT)
    assert done.returncode == 0, done.stderr
