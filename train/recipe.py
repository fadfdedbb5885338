"""The training recipe: the encoder frozen at first, then the whole network at a low rate; resumable at any moment.

Where BatchNorm learns with the whole network, each layer is trained behind the statistics of a batch, and used behind
those of all: a last phase lets the network settle on the latter.

After every epoch the model with its optimizer goes to `last-NNN.keras`, then `state.json` points to it, and then the
best model is kept: whatever moment a run is killed at, `resume` goes on from the last whole epoch, to the same curve
(batches are drawn from the seed and the epoch, see `batches.py`; early stopping is read off the history).
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import keras

from edge.errors import UserError
from edge.files import check_writable, replacing, write_json, write_text
from train.batches import Batches, Examples
from train.losses import BCEDice
from train.models import deflate
from train.splits import VALIDATION_SHARE
from train.training_form import to_keep, to_train
from train.unet import UNetConfig, build_unet, set_trainable

STATE_FILE = "state.json"
BEST_FILE = "best.keras"
HISTORY_FILE = "history.csv"
# What chooses the best epoch: the loss moves smoothly where the IoU of a few validation videos jumps at its threshold.
MONITOR = "val_loss"

Row = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one choice of what learns. `patience` epochs without a better one end it early."""

    name: str
    epochs: int
    rate: float
    encoder: bool
    """Whether the encoder's convolutions learn."""
    batch_norm: bool
    """Whether BatchNorm's statistics and scales move."""
    cosine: bool
    """Whether the rate rises over one epoch and then falls to zero along a cosine."""
    patience: int | None


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on beside its data."""

    model: UNetConfig = field(default_factory=UNetConfig)
    backbone_weights: str | None = "imagenet"
    frozen_epochs: int = 25
    frozen_rate: float = 1e-3
    patience: int = 6
    whole_epochs: int = 10
    whole_rate: float = 1e-4
    whole_batch_norm: bool = False
    """Whether BatchNorm goes on learning with the whole network."""
    settle_epochs: int = 0
    """How many epochs of the whole network follow with BatchNorm still."""
    settle_rate: float = 1e-4
    batch_size: int = 8
    augment: Literal["plain", "strong"] = "plain"
    plain_epochs: int = 0
    """How many epochs of the last phase are augmented plainly all the same: to end on pictures as cameras take them."""
    validation: float = VALIDATION_SHARE
    """Share of the training pairs, in whole videos, that chooses the best epoch; with 0 the last one is kept."""
    mixed_precision: bool = False
    """Whether layers compute in bfloat16, which GPUs are fast at; weights stay float32, and so does the best model."""
    seed: int = 0

    def phases(self) -> list[Phase]:
        frozen = Phase(
            "frozen", self.frozen_epochs, self.frozen_rate,
            encoder=False, batch_norm=True, cosine=False, patience=self.patience,
        )  # fmt: skip
        whole = Phase(
            "whole", self.whole_epochs, self.whole_rate,
            encoder=True, batch_norm=self.whole_batch_norm, cosine=True, patience=None,
        )  # fmt: skip
        settle = Phase(
            "settle", self.settle_epochs, self.settle_rate,
            encoder=True, batch_norm=False, cosine=True, patience=None,
        )  # fmt: skip
        return [phase for phase in (frozen, whole, settle) if phase.epochs]

    def check(self) -> None:
        """Raise `UserError` for a recipe that cannot be run."""
        self.model.check()
        for name in ("batch_size", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: expected at least 1")
        if self.plain_epochs < 0:
            raise UserError(f"plain_epochs is {self.plain_epochs}: expected at least 0")
        if min(self.frozen_epochs, self.whole_epochs) < 0 or not self.frozen_epochs + self.whole_epochs:
            raise UserError(
                f"{self.frozen_epochs} frozen and {self.whole_epochs} whole epochs: expected 1 or more in all"
            )
        if self.settle_epochs < 0:
            raise UserError(f"settle_epochs is {self.settle_epochs}: expected at least 0")
        if not 0 <= self.validation <= 0.5:
            raise UserError(f"validation is {self.validation}: expected a share from 0 to 0.5")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: expected 0 to {2**32 - 1}")
        for name in ("frozen_rate", "whole_rate", "settle_rate"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: expected a learning rate between 0 and 1")


@dataclass
class State:
    """How far a run has come: written after every epoch, read by `resume`."""

    recipe: dict[str, Any]
    data_sha256: str
    history: list[Row] = field(default_factory=list)
    last: str | None = None
    """The file of the model with its optimizer, as the last epoch left it."""
    best_epoch: int | None = None
    """The epoch that best.keras is of."""

    def of(self, phase: Phase) -> list[Row]:
        return [row for row in self.history if row["phase"] == phase.name]

    def is_done(self, phase: Phase) -> bool:
        rows = self.of(phase)
        return len(rows) >= phase.epochs or (phase.patience is not None and stalled_epochs(rows) >= phase.patience)


def stalled_epochs(rows: list[Row]) -> int:
    """How many epochs have passed since the best one."""
    return len(rows) - 1 - rows.index(best_of(rows)) if rows else 0


def best_of(rows: list[Row]) -> Row:
    """The epoch that validation likes best; where nothing was kept for validation, the last one."""
    return min(rows, key=lambda row: float(row[MONITOR])) if MONITOR in rows[-1] else rows[-1]


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
    for phase in recipe.phases():
        if state.is_done(phase):
            continue
        rows = state.of(phase)
        if rows and state.last:
            model = _load(out / state.last, compiled=True)
        else:
            if state.history:
                model = _load(out / BEST_FILE, compiled=False)
            else:
                model = build_unet(recipe.model, weights=recipe.backbone_weights)
            model = to_train(model, "mixed_bfloat16" if recipe.mixed_precision else "float32")
            _compile(model, phase, steps=phase.epochs * -(-len(learn) // recipe.batch_size))
        done = len(state.history)
        end = done - len(rows) + phase.epochs
        batches = Batches(
            learn, recipe.batch_size, seed=recipe.seed, strong=recipe.augment == "strong",
            plain_from=end - recipe.plain_epochs if phase == recipe.phases()[-1] else None,
        )  # fmt: skip
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
        raise UserError(f"{out} already holds a training run: pass --resume to go on with it, or another --out")


def _open_run(recipe: Recipe, out: Path, data_sha256: str, resume: bool) -> State:
    check_out(out, resume=resume)
    fresh = State(json.loads(json.dumps(asdict(recipe))), data_sha256)
    if not (out / STATE_FILE).is_file():
        return fresh
    state = read_state(out)
    # A run begun before the recipe had some field was trained as that field's default says.
    before = asdict(Recipe()) | state.recipe
    before["model"] = asdict(UNetConfig()) | state.recipe.get("model", {})
    changed = [key for key in fresh.recipe if before[key] != fresh.recipe[key]]
    if changed:
        raise UserError(
            f"{out} was trained with another {', '.join(changed)}: resume with the same, or pass another --out"
        )
    if state.data_sha256 != data_sha256:
        raise UserError(
            f"{out} was trained on other data: resume with the same --data, --split, --extra and --negatives, "
            "or pass another --out"
        )
    return state


def _load(path: Path, *, compiled: bool) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=compiled)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged: delete {path.parent} and start again") from error


def read_state(out: Path) -> State:
    """How far the run in `out` has come. Raises `UserError` where its state is damaged."""
    path = out / STATE_FILE
    try:
        return State(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a run's state ({error}): delete {out} and start again") from error


def _compile(model: keras.Model, phase: Phase, steps: int) -> None:
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


class _Epochs(keras.callbacks.Callback):
    """Keeps the run's state on disk, its best model, its table; and ends a phase that has stopped improving."""

    def __init__(self, state: State, phase: Phase, batches: Batches, out: Path) -> None:
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
                f"the loss is {loss} after epoch {epoch + 1}: the training came apart; "
                "start again with a lower learning rate"
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


def _keep_best(model: keras.Model, state: State, out: Path) -> None:
    """Save `model`, as the last epoch left it, as the best one if it is.

    Only after the state, so that the best model never is of an epoch that a resumed run knows nothing of.
    """
    if not state.history or stalled_epochs(state.history) or state.best_epoch == state.history[-1]["epoch"]:
        return
    _save(to_keep(model), out / BEST_FILE, compress=True)
    state.best_epoch = state.history[-1]["epoch"]
    write_json(out / STATE_FILE, asdict(state))


def write_history(history: list[Row], path: Path) -> None:
    """Write the epochs as CSV."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in history for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


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
