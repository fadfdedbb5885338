"""FireSeg Edge on the Pi: camera, model, detection and sinks. Needs numpy, OpenCV and a TFLite interpreter.

Example:
    >>> from edge import Segmenter
    >>> from edge.images import read_rgb
    >>> mask = Segmenter("models/fireseg-base-int8.tflite").mask(read_rgb(Path("photo.jpg")))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.detection.detector import Detector
    from edge.model.segmenter import Segmenter

    __version__: str

__all__ = ["Detector", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use: a command that needs no OpenCV starts without it."""
    if name == "Detector":
        from edge.detection.detector import Detector

        return Detector
    if name == "Segmenter":
        from edge.model.segmenter import Segmenter

        return Segmenter
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("fireseg-edge")
        except PackageNotFoundError:  # a checkout that is not installed
            return "unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
