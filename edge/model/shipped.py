"""The int8 models that ship with this package, by name."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "base"
SHIPPED: dict[str | Path, Path] = {
    name: Path(__file__).with_name(f"fireseg-{name}-int8.tflite") for name in (DEFAULT_MODEL, "small")
}
"""In a checkout they are links into `models/`; a wheel contains the files."""


def find_model(model: str | Path) -> Path:
    """Return the file of a shipped model by its name, or the path itself. A file named base is `./base`.

    Example:
        >>> find_model("small").name
        'fireseg-small-int8.tflite'
    """
    return SHIPPED.get(model, Path(model))
