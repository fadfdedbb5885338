"""The progress of a training run: written after every epoch, compared with the command's arguments on `--resume`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from edge.errors import UserError, one_line
from edge.files import check_writable, sha256
from train.model.losses import TEMPERATURE
from train.recipe import Phase, Recipe

STATE_FILE = "state.json"
# Chooses the best epoch: the loss is smooth; the IoU of a few validation videos jumps at its threshold.
MONITOR = "val_loss"

Row = dict[str, Any]


@dataclass
class TrainingState:
    """The progress of a run: written after every epoch, read by `--resume`."""

    recipe: dict[str, Any]
    data_sha256: str
    history: list[Row] = field(default_factory=list)
    last: str | None = None  # file of the model with its optimizer after the last epoch
    best_epoch: int | None = None  # the epoch of best.keras
    start_sha256: str | None = None  # of the model that the run started from
    temperature: float = 1.0  # of its loss; runs begun before it had one do not name it
    backend: str | None = None  # of Keras; runs begun before it was recorded do not name it

    def rows(self, phase: Phase) -> list[Row]:
        return [row for row in self.history if row["phase"] == phase.name]

    def is_done(self, phase: Phase) -> bool:
        """Whether the phase ran all its epochs, or its patience ran out."""
        rows = self.rows(phase)
        return len(rows) >= phase.epochs or (phase.patience is not None and stalled_epochs(rows) >= phase.patience)


def stalled_epochs(rows: list[Row]) -> int:
    """Return the number of epochs since the best one."""
    return len(rows) - 1 - rows.index(best_row(rows)) if rows else 0


def best_row(rows: list[Row]) -> Row:
    """Return the epoch with the lowest validation loss, or the last epoch if there was no validation."""
    return min(rows, key=lambda row: float(row[MONITOR])) if MONITOR in rows[-1] else rows[-1]


def read_state(out: Path) -> TrainingState:
    """Read the progress of the run in `out`. Raises `UserError` if its state is damaged."""
    path = out / STATE_FILE
    try:
        state = TrainingState(**json.loads(path.read_text()))
        if not isinstance(state.recipe, dict) or not all({"phase", "epoch"} <= row.keys() for row in state.history):
            raise ValueError("its recipe or its history is damaged")
        return state
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a run's state ({error})", f"delete {out} and start again") from error


def check_out(out: Path, *, resume: bool) -> None:
    """Raise `UserError` if a run cannot start or resume in `out`: check before reading the data."""
    check_writable(out)
    if (out / STATE_FILE).is_file() and not resume:
        raise UserError(f"{out} already holds a training run", "pass --resume to continue it, or another --out")


def open_run(recipe: Recipe, out: Path, data_sha256: str, start: Path | None, resume: bool) -> TrainingState:
    """Return the progress of the run in `out`, or that of a new run.

    Raises `UserError` if `out` holds a run and `resume` is off, or one of another recipe, loss, backend, start or data.
    """
    check_out(out, resume=resume)
    start_sha256 = sha256(start) if start else None
    if not (out / STATE_FILE).is_file():
        return TrainingState(
            asdict(recipe), data_sha256,
            start_sha256=start_sha256, temperature=TEMPERATURE, backend=keras.backend.backend(),
        )  # fmt: skip
    state = read_state(out)
    current = asdict(recipe)
    if unknown := sorted(state.recipe.keys() - current.keys()):
        raise UserError(
            f"{out} was begun by another version, whose recipe has {', '.join(unknown)}", "pass another --out"
        )
    if state.temperature != TEMPERATURE:
        problem = f"{out} was begun with a loss of temperature {state.temperature}, now it is {TEMPERATURE}"
        raise UserError(problem, "pass another --out")
    if state.backend not in (None, keras.backend.backend()):
        problem = f"{out} was begun with KERAS_BACKEND={one_line(str(state.backend))}"
        raise UserError(problem, "resume with the same, or pass another --out")
    # A run older than a field was trained with that field's default.
    begun = asdict(Recipe()) | state.recipe
    if changed := [key for key in begun if begun[key] != current[key]]:
        raise UserError(
            f"{out} was trained with another {', '.join(changed)}", "resume with the same, or pass another --out"
        )
    if state.start_sha256 != start_sha256:
        problem = f"{out} was started from another model, or from none"
        raise UserError(problem, "resume with the same --start, or pass another --out")
    if state.data_sha256 != data_sha256:
        raise UserError(
            f"{out} was trained on other data",
            "resume with the same --data, --split, --extra and --negatives, or pass another --out",
        )
    return state
