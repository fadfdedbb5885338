"""The model files that the benchmarks measure. Needs `edge` only, so that it runs on a Pi."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UserError

MODELS = Path(__file__).parents[1] / "models"
DEFAULT_KERAS = Path("models/fireseg-base.keras")
DEFAULT_TFLITE = Path("models/fireseg-base-int8.tflite")


def timed_models() -> list[Path]:
    """Return the `.tflite` files to time: the variable MODEL, else all that ship. Raise `UserError` for other files."""
    model = os.environ.get("MODEL")
    if not model:
        return sorted(MODELS.glob("*.tflite"))
    if not model.endswith(".tflite") or not Path(model).is_file():
        remedy = "make one with `fireseg-export convert`; without MODEL, all shipped ones are timed"
        raise UserError(f"MODEL={model} is not a .tflite file", remedy)
    return [Path(model)]


@dataclass(frozen=True)
class Family:
    """A shipped Keras model and the `.tflite` files made from it, by kind."""

    name: str
    keras: Path
    shrunk: dict[str, Path]


def families() -> list[Family]:
    """Return every NAME.keras with its NAME-float16.tflite and NAME-int8.tflite. Raise `UserError` without one."""
    result = []
    for keras in sorted(MODELS.glob("*.keras")):
        shrunk = {kind: MODELS / f"{keras.stem}-{kind}.tflite" for kind in ("float16", "int8")}
        if missing := {kind: path for kind, path in shrunk.items() if not path.is_file()}:
            copies = " and ".join(f"build/export/fireseg-{kind}.tflite to {path}" for kind, path in missing.items())
            remedy = f"make them with MODEL={keras} make export-int8, and copy {copies}"
            raise UserError(f"{keras} ships without {' and '.join(path.name for path in missing.values())}", remedy)
        result.append(Family(keras.stem, keras, shrunk))
    return result
