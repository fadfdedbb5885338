"""Where frames come from: one file a kind, found by how `--source` reads.

A module is imported only when its kind is asked for, so that no camera's library is loaded for another's sake.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge.camera.base import Camera, CameraError, CameraFrame
from edge.errors import UserError

__all__ = ["KINDS", "Camera", "CameraError", "CameraFrame", "CameraSettings", "build_camera"]

KINDS = (
    "picamera2, a V4L2 device (0 or /dev/video0), rtsp://…, http://… (MJPEG), a video file, a folder of pictures, "
    "or test-pattern"
)


@dataclass(frozen=True)
class CameraSettings:
    """How a source is opened."""

    size: tuple[int, int] = (640, 480)
    """Width and height asked of a camera that can be asked."""
    model_size: tuple[int, int] = (224, 224)
    """Width and height that the model takes: a Pi camera scales to it in hardware."""
    fps: float = 10.0
    """Frames a second asked of a camera, painted, or taken from a folder of pictures."""
    timeout_s: float = 10.0
    """How long a camera may take to connect, and between two frames."""


def build_camera(text: str, settings: CameraSettings) -> Camera:
    """The source that `text` means, not opened yet. Raises `UserError` where it means none."""
    if text == "test-pattern":
        from edge.camera.pattern import Pattern

        return Pattern(fps=settings.fps)
    if text == "picamera2":
        from edge.camera.picamera import Picamera

        return Picamera(settings)
    if url := re.match(r"([A-Za-z][A-Za-z0-9+.\-]*)://", text):
        return _network_source(text, url[1].lower(), settings)
    if re.fullmatch(r"\d+|/dev/video\S*", text):
        from edge.camera.device import Device

        return Device(text, settings)
    path = Path(text)
    if text and path.is_dir():
        from edge.camera.folder import Folder

        return Folder(path, fps=settings.fps)
    if path.is_file():
        from edge.camera.files import VideoFile

        return VideoFile(path)
    raise UserError(f"source {text!r} is neither a file nor a folder, nor any other source", f"expected {KINDS}")


def _network_source(url: str, scheme: str, settings: CameraSettings) -> Camera:
    if re.search(r"\s", url):  # and redaction relies on it
        raise UserError(f"the {scheme}:// address of the source holds a space", "write it as %20")
    if scheme in ("http", "https"):
        from edge.camera.mjpeg import Mjpeg

        return Mjpeg(url, settings)
    if scheme in ("rtsp", "rtsps"):
        from edge.camera.rtsp import Rtsp

        return Rtsp(url, settings)
    raise UserError(f"a source at {scheme}:// cannot be read", f"expected {KINDS}")
