"""How far a training has come: its epochs so far, which of them was best, and the files of its folder."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.errors import UserError
from edge.files import write_text
from train.recipe import Phase

STATE_FILE = "state.json"
BEST_FILE = "best.keras"
HISTORY_FILE = "history.csv"
# What chooses the best epoch: the loss moves smoothly where the IoU of a few validation videos jumps at its threshold.
MONITOR = "val_loss"

Row = dict[str, Any]


@dataclass
class TrainingState:
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


def read_state(out: Path) -> TrainingState:
    """How far the run in `out` has come. Raises `UserError` where its state is damaged."""
    path = out / STATE_FILE
    try:
        return TrainingState(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a run's state ({error})", f"delete {out} and start again") from error


def write_history(history: list[Row], path: Path) -> None:
    """Write the epochs as CSV."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in history for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())
