"""Which model files the benchmarks measure. Needs no more than the Pi's room."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import UserError

MODELS = Path(__file__).parents[1] / "models"


def timed_models(named: str | None = None) -> list[Path]:
    """The `.tflite` that `named` (by default the variable MODEL) names, else all that ship. Raises `UserError`."""
    named = os.environ.get("MODEL") if named is None else named
    if not named:
        return sorted(MODELS.glob("*.tflite"))
    path = Path(named)
    if path.suffix != ".tflite":
        raise UserError(
            f"MODEL={named} cannot be timed here: expected a .tflite; `fireseg-export convert {named}` makes one"
        )
    if not path.is_file():
        raise UserError(f"MODEL={named} does not exist: expected a .tflite, or no MODEL to time those that ship")
    return [path]
