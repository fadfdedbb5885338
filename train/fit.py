"""Train by a recipe, resumably.

After every epoch the model with its optimizer goes to `last-NNN.keras`, then `state.json` points to it, and then
`best.keras` is updated. A run killed at any moment resumes from its last complete epoch, to the same curve: batches
depend on the seed and the epoch only (`train/data/batches.py`), and early stopping on the history.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import keras

from edge.errors import UserError
from edge.files import replacing, write_json
from train.data.batches import Batches, Examples
from train.distribution import devices_of
from train.model.fused_batchnorm import fuse_batchnorm, unfuse_batchnorm
from train.model.io import deflate, load_keras
from train.model.losses import BCEDice
from train.model.unet import build_unet, set_trainable
from train.recipe import Phase, Recipe
from train.training_state import MONITOR, STATE_FILE, Row, TrainingState, open_run, stalled_epochs

BEST_FILE = "best.keras"
Average = Callable[[keras.Model], keras.Model]


def fit(
    recipe: Recipe,
    training: Examples,
    validation: Examples,
    out: Path,
    *,
    data_sha256: str,
    start: Path | None = None,
    resume: bool = False,
    distribution: keras.distribution.DataParallel | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Train and return the best model, also saved as `out`/best.keras.

    `start` is a model of the recipe's network whose weights the run begins from, instead of the encoder's alone.

    The best model has the lowest validation loss; without validation images it is the last epoch's. `data_sha256` is
    the content hash of the training images, with that of the validation images. `resume` continues the run in `out`,
    if there is one.
    `distribution` divides each batch among devices; see `train.distribution`.
    Raises `UserError` if `out` holds a run and `resume` is off, or a run of another recipe, start or data, and if
    `start` is another network.

    Example:
        >>> fit(Recipe(width=0.35), training, validation, Path("runs/mine"), data_sha256=digest)
    """
    recipe.check()
    state = open_run(recipe, out, data_sha256, start, resume)
    devices = devices_of(distribution, training=len(training), validation=len(validation))
    # Outside of the scope: the augmentation's generators stay on one device.
    batches = Batches(training, recipe.batch_size, seed=recipe.seed, strong=recipe.augment == "strong", devices=devices)
    validation_batches = Batches(validation, recipe.batch_size, devices=devices) if len(validation) else None
    keras.utils.set_random_seed(recipe.seed)  # the network's weights are the first to draw
    with distribution.scope() if distribution else nullcontext():
        average = _averaging_with(start, recipe.start_weight)
        if state.last:  # killed after the state was written, possibly before the best model was
            _update_best(_load(out / state.last, compiled=False), state, out, average)
        _run_phases(recipe, state, batches, validation_batches, out, start, average, verbose)
    return _load(out / BEST_FILE, compiled=False)


def _run_phases(
    recipe: Recipe,
    state: TrainingState,
    batches: Batches,
    validation: Batches | None,
    out: Path,
    start: Path | None,
    average: Average,
    verbose: int,
) -> None:
    """Train what is left of each phase."""
    phases = recipe.phases()
    for previous, phase in zip([None, *phases], phases, strict=False):
        if state.is_done(phase):
            continue
        rows = state.rows(phase)
        if rows and state.last:
            model = _load(out / state.last, compiled=True)
        else:
            if previous is None or state.last is None:
                initial = build_initial(recipe, start)
            else:
                # A phase with patience hands on its best epoch. The others hand on their last: while BatchNorm trains,
                # the validation loss fluctuates more than the network changes.
                initial = _load(out / (state.last if previous.patience is None else BEST_FILE), compiled=False)
            model = fuse_batchnorm(initial, "mixed_bfloat16" if recipe.mixed_precision else "float32")
            compile_phase(model, phase, steps=phase.epochs * len(batches), negative_weight=recipe.negative_weight)
        epochs_done = len(state.history)
        model.fit(
            batches,
            validation_data=validation,
            initial_epoch=epochs_done,
            epochs=epochs_done - len(rows) + phase.epochs,
            callbacks=[_Checkpoint(state, phase, batches, out, average)],
            shuffle=False,  # `Batches` shuffles; Keras' shuffling could not be resumed
            verbose=verbose,
        )


def build_initial(recipe: Recipe, start: Path | None) -> keras.Model:
    """Return the recipe's network with the weights of `start`, or with its pre-trained encoder. Raises `UserError`."""
    if start is None:
        return build_unet(recipe.model, weights=recipe.weights)
    network, trained = build_unet(recipe.model, weights=None), load_keras(start)
    weights = trained.get_weights()
    if [weight.shape for weight in weights] != [weight.shape for weight in network.get_weights()]:
        problem = f"{start} is another network than that of width {recipe.width:g}"
        raise UserError(problem, "pass the --width that it was trained with")
    network.set_weights(weights)
    return network


def compile_phase(model: keras.Model, phase: Phase, steps: int, negative_weight: float = 0.0) -> None:
    """Freeze layers and set the loss, the optimizer and the learning rate of the phase over `steps` steps."""
    set_trainable(model, encoder=phase.encoder, batchnorm=phase.batchnorm)
    lr = phase.lr
    if phase.cosine:
        # Adam's first steps are as long as its learning rate: without warm-up they destroy pre-trained features.
        warm_up = steps // phase.epochs
        lr = keras.optimizers.schedules.CosineDecay(
            phase.lr / 100, max(1, steps - warm_up), warmup_target=phase.lr, warmup_steps=warm_up
        )
    model.compile(
        optimizer=keras.optimizers.Adam(lr),
        loss=BCEDice(negative_weight=negative_weight),
        metrics=[keras.metrics.BinaryIoU(target_class_ids=[1], threshold=0.5, name="fire_iou")],
    )


class _Checkpoint(keras.callbacks.Callback):
    """Save the run after every epoch, and end a phase that has stopped improving."""

    def __init__(self, state: TrainingState, phase: Phase, batches: Batches, out: Path, average: Average) -> None:
        super().__init__()
        self.state, self.phase, self.batches, self.out, self.average = state, phase, batches, out, average

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.start_epoch(epoch)
        self.started_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = round(time.monotonic() - self.started_s, 1)
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        row: Row = {"phase": self.phase.name, "epoch": epoch + 1, "seconds": seconds, **metrics}
        if not math.isfinite(loss := row[MONITOR] if MONITOR in row else row["loss"]):
            raise UserError(f"the loss is {loss} after epoch {epoch + 1}", "training diverged; lower the learning rate")
        previous, last = self.state.last, f"last-{epoch + 1:03d}.keras"
        with replacing(self.out / last) as temporary:
            self.model.save(temporary)
        self.state.history.append(row)
        self.state.last = last
        write_json(self.out / STATE_FILE, asdict(self.state))
        _update_best(self.model, self.state, self.out, self.average)
        if previous and previous != last:
            (self.out / previous).unlink(missing_ok=True)
        _write_history(self.state.history, self.out / "history.csv")
        if self.state.is_done(self.phase):
            self.model.stop_training = True


def _averaging_with(start: Path | None, weight: float) -> Average:
    """Return what replaces a network's weights by their mean with those of `start`, weighted by `weight`.

    The mean forgets less than the trained weights and keeps most of their gains (WiSE-FT: Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).
    """
    if start is None or not weight:
        return lambda model: model
    initial = load_keras(start).get_weights()

    def average(model: keras.Model) -> keras.Model:
        trained = model.get_weights()
        model.set_weights([weight * old + (1 - weight) * new for old, new in zip(initial, trained, strict=True)])
        return model

    return average


def _update_best(model: keras.Model, state: TrainingState, out: Path, average: Average) -> None:
    """Save the last epoch's `model` as the best one if it is; after the state, which must know every saved epoch."""
    if not state.history or stalled_epochs(state.history) or state.best_epoch == state.history[-1]["epoch"]:
        return
    with replacing(out / BEST_FILE) as temporary:
        average(unfuse_batchnorm(model)).save(temporary)
        deflate(temporary)
    state.best_epoch = state.history[-1]["epoch"]
    write_json(out / STATE_FILE, asdict(state))


def _load(path: Path, *, compiled: bool) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=compiled)
    except (OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "resume with the Keras version that began the run, or pass another --out"
        raise UserError(f"{path} could not be loaded ({why})", remedy) from error


def _write_history(history: list[Row], path: Path) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in history for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
