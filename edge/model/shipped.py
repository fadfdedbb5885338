"""The int8 models that ship with this package, by name."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MODEL = "base"
KINDS = ("int8", "float16", "float32")
SHIPPED: dict[str | Path, Path] = {
    name: Path(__file__).with_name(f"fireseg-{name}-int8.tflite") for name in (DEFAULT_MODEL, "small")
}
"""In a checkout they are links into `models/`; a wheel contains the files."""


def other_kinds(model: Path) -> list[Path]:
    """Return the files beside a model that are named like another kind of it, such as float16 beside int8.

    Example:
        >>> [path.name for path in other_kinds(Path("models/fireseg-small-int8.tflite"))]
        ['fireseg-small-float16.tflite']
    """
    file = model.resolve()  # a shipped model may be a link to where its other kinds are
    network, _, kind = file.stem.rpartition("-")
    if kind not in KINDS:
        return []
    paths = (file.with_name(f"{network}-{other}{file.suffix}") for other in KINDS if other != kind)
    return [path for path in paths if os.path.isfile(path)]  # noqa: PTH113  also False for what cannot be looked up


def find_model(model: str | Path) -> Path:
    """Return the file of a shipped model by its name, or the path itself. A file named base is `./base`.

    Example:
        >>> find_model("small").name
        'fireseg-small-int8.tflite'
    """
    return SHIPPED.get(model, Path(model))
