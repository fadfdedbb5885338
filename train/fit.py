"""A training by a recipe, resumable at any moment.

After every epoch the model with its optimizer goes to `last-NNN.keras`, then `state.json` points to it, and then the
best model is kept: whatever moment a run is killed at, `resume` goes on from the last whole epoch, to the same curve
(batches are drawn from the seed and the epoch, see `batches.py`; early stopping is read off the history).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import keras

from edge.errors import UserError
from edge.files import check_writable, replacing, write_json
from train.data.batches import Batches, Examples
from train.model.fused_batchnorm import to_keep, to_train
from train.model.io import deflate
from train.model.losses import BCEDice
from train.model.unet import UNetConfig, build_unet, set_trainable
from train.recipe import Phase, Recipe
from train.run_state import (
    BEST_FILE,
    HISTORY_FILE,
    MONITOR,
    STATE_FILE,
    Row,
    TrainingState,
    read_state,
    stalled_epochs,
    write_history,
)


def fit(
    recipe: Recipe, learn: Examples, validate: Examples, out: Path, *, data_sha256: str, resume: bool, verbose: int
) -> keras.Model:
    """Train, and return the best model by the loss on the validation videos; it lies in `out` as best.keras too.

    Without any to validate on, the last epoch's is the best.

    Raises `UserError` where `out` already holds a run and `resume` is off, or holds one of another recipe or data.
    """
    recipe.check()
    state = _open_run(recipe, out, data_sha256, resume)
    keras.utils.set_random_seed(recipe.seed)
    if state.last:  # the run may have been killed after its state was written and before its best model was
        _keep_best(_load(out / state.last, compiled=False), state, out)
    model: keras.Model | None = None
    phases = recipe.phases()
    for before, phase in zip([None, *phases], phases, strict=False):
        if state.is_done(phase):
            continue
        rows = state.of(phase)
        if rows and state.last:
            model = _load(out / state.last, compiled=True)
        else:
            if before and state.last:
                # Where patience looked for the best, that goes on; else what the phase ended with: while BatchNorm
                # learns, the loss on validation rises and falls by more than the network does.
                model = _load(out / (state.last if before.patience is None else BEST_FILE), compiled=False)
            else:
                model = build_unet(recipe.model, weights=recipe.backbone_weights)
            model = to_train(model, "mixed_bfloat16" if recipe.mixed_precision else "float32")
            compile_phase(model, phase, steps=phase.epochs * -(-len(learn) // recipe.batch_size))
        done = len(state.history)
        end = done - len(rows) + phase.epochs
        batches = Batches(learn, recipe.batch_size, seed=recipe.seed, strong=recipe.augment == "strong")
        model.fit(
            batches,
            validation_data=Batches(validate, recipe.batch_size) if len(validate) else None,
            initial_epoch=done,
            epochs=end,
            callbacks=[_Epochs(state, phase, batches, out), *_tensorboard(out)],
            shuffle=False,  # Keras would shuffle the batches again, by a generator that a resumed run cannot know
            verbose=verbose,
        )
    return _load(out / BEST_FILE, compiled=False)


def check_out(out: Path, *, resume: bool) -> None:
    """Raise `UserError` where a run cannot begin or go on in `out`: before the data is read."""
    check_writable(out)
    if (out / STATE_FILE).is_file() and not resume:
        raise UserError(f"{out} already holds a training run", "pass --resume to go on with it, or another --out")


def compile_phase(model: keras.Model, phase: Phase, steps: int) -> None:
    """Give a model in training form the phase's loss, optimizer and rate over `steps`, and freeze what stands still."""
    set_trainable(model, encoder=phase.encoder, batch_norm=phase.batch_norm)
    rate = phase.rate
    if phase.cosine:
        # Adam's first steps are as long as its rate whatever the gradient: a cold start throws pre-trained layers off.
        warm_up = steps // phase.epochs
        rate = keras.optimizers.schedules.CosineDecay(
            phase.rate / 100, max(1, steps - warm_up), warmup_target=phase.rate, warmup_steps=warm_up
        )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=BCEDice(),
        metrics=[keras.metrics.BinaryIoU(target_class_ids=[1], threshold=0.5, name="fire_iou")],
    )


def _open_run(recipe: Recipe, out: Path, data_sha256: str, resume: bool) -> TrainingState:
    check_out(out, resume=resume)
    fresh = TrainingState(json.loads(json.dumps(asdict(recipe))), data_sha256)
    if not (out / STATE_FILE).is_file():
        return fresh
    state = read_state(out)
    # A run begun before the recipe had some field was trained as that field's default says; one begun with a field
    # that is gone cannot go on as it began.
    before = asdict(Recipe()) | state.recipe
    before["model"] = asdict(UNetConfig()) | state.recipe.get("model", {})
    changed = [key for key in before if before[key] != fresh.recipe.get(key)]
    if changed:
        raise UserError(
            f"{out} was trained with another {', '.join(changed)}", "resume with the same, or pass another --out"
        )
    if state.data_sha256 != data_sha256:
        raise UserError(
            f"{out} was trained on other data",
            "resume with the same --data, --split, --extra and --negatives, or pass another --out",
        )
    return state


def _load(path: Path, *, compiled: bool) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=compiled)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged", f"delete {path.parent} and start again") from error


class _Epochs(keras.callbacks.Callback):
    """Keeps the run's state on disk, its best model, its table; and ends a phase that has stopped improving."""

    def __init__(self, state: TrainingState, phase: Phase, batches: Batches, out: Path) -> None:
        super().__init__()
        self.state, self.phase, self.batches, self.out = state, phase, batches, out

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.start_epoch(epoch)
        self.started_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row: Row = {
            "phase": self.phase.name,
            "epoch": epoch + 1,
            "seconds": round(time.monotonic() - self.started_s, 1),
        }
        row |= {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(loss := row[MONITOR] if MONITOR in row else row["loss"]):
            raise UserError(
                f"the loss is {loss} after epoch {epoch + 1}",
                "the training came apart; start again with a lower learning rate",
            )
        before, last = self.state.last, f"last-{epoch + 1:03d}.keras"
        _save(self.model, self.out / last)
        self.state.history.append(row)
        self.state.last = last
        write_json(self.out / STATE_FILE, asdict(self.state))
        _keep_best(self.model, self.state, self.out)
        if before and before != last:
            (self.out / before).unlink(missing_ok=True)
        write_history(self.state.history, self.out / HISTORY_FILE)
        if self.state.is_done(self.phase):
            self.model.stop_training = True


def _keep_best(model: keras.Model, state: TrainingState, out: Path) -> None:
    """Save `model`, as the last epoch left it, as the best one if it is.

    Only after the state, so that the best model never is of an epoch that a resumed run knows nothing of.
    """
    if not state.history or stalled_epochs(state.history) or state.best_epoch == state.history[-1]["epoch"]:
        return
    _save(to_keep(model), out / BEST_FILE, compress=True)
    state.best_epoch = state.history[-1]["epoch"]
    write_json(out / STATE_FILE, asdict(state))


def _save(model: keras.Model, path: Path, *, compress: bool = False) -> None:
    with replacing(path) as temporary:
        model.save(temporary)
        if compress:
            deflate(temporary)


def _tensorboard(out: Path) -> list[keras.callbacks.Callback]:
    # Keras writes TensorBoard's files with TensorFlow, which a JAX or torch installation may lack.
    if find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False)]
