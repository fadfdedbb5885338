"""Which model files the benchmarks measure. Needs no more than the Pi's room."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
            f"MODEL={named} cannot be timed here", f"expected a .tflite; `fireseg-export convert {named}` makes one"
        )
    if not path.is_file():
        raise UserError(f"MODEL={named} does not exist", "expected a .tflite, or no MODEL to time those that ship")
    return [path]


@dataclass(frozen=True)
class Family:
    """A Keras model that ships, and what was made from it, by kind."""

    name: str
    keras: Path
    shrunk: dict[str, Path]


def families(models: Path = MODELS) -> list[Family]:
    """Every NAME.keras with its NAME-float16.tflite and NAME-int8.tflite. Raises `UserError` where one is missing."""
    found = []
    for keras in sorted(models.glob("*.keras")):
        shrunk = {kind: models / f"{keras.stem}-{kind}.tflite" for kind in ("float16", "int8")}
        missing = [path.name for path in shrunk.values() if not path.is_file()]
        if missing:
            raise UserError(
                f"{keras} ships without {' and '.join(missing)}",
                f"expected both beside it; make them with MODEL={keras} make export-int8",
            )
        found.append(Family(keras.stem, keras, shrunk))
    return found
