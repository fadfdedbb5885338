"""FireSeg Edge on the Pi: camera, model, detection and sinks. Needs numpy, OpenCV and a TFLite interpreter.

Example:
    >>> from edge import Segmenter
    >>> from edge.images import read_rgb
    >>> mask = Segmenter("base").mask(read_rgb(Path("photo.jpg")))
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.detection.detector import Detector
    from edge.model.segmenter import Segmenter

    __version__: str

__all__ = ["Detector", "Segmenter", "__version__"]
_MODULES = {"Detector": "edge.detection.detector", "Segmenter": "edge.model.segmenter"}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `edge.errors` loads without OpenCV."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return version("fireseg-edge")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
