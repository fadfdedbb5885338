"""Cameras and recordings: one class per kind, chosen by the text of `--source`.

`build_camera` imports a kind's module only on demand, so that a missing camera library breaks no other kind.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge.camera.base import Camera, CameraError, CameraFrame, CameraSettings
from edge.errors import UserError

__all__ = ["CAMERA_KINDS", "CAMERA_NAMES", "Camera", "CameraError", "CameraFrame", "CameraSettings", "build_camera"]

CAMERA_KINDS = (
    "picamera2, a V4L2 device (0 or /dev/video0), rtsp://…, http://… (MJPEG), a video file, a folder of images, "
    "or test-pattern"
)


CAMERA_NAMES = r"test-pattern|picamera2|\d+|[A-Za-z][A-Za-z0-9+.\-]*://.*"
"""What names a camera or the pattern; any other text is a path."""


def build_camera(source: str, settings: CameraSettings) -> Camera:
    """Return the camera or recording for `source`, not yet opened. Raises `UserError`.

    Example:
        >>> camera = build_camera("test-pattern", CameraSettings(fps=5))
        >>> camera.open()
        >>> camera.read().rgb.shape
        (240, 320, 3)
    """
    if source == "test-pattern":
        from edge.camera.pattern import PatternCamera

        return PatternCamera(fps=settings.fps)
    if source == "picamera2":
        from edge.camera.picamera import PiCamera

        return PiCamera(settings)
    if url := re.match(r"([A-Za-z][A-Za-z0-9+.\-]*)://", source):
        scheme = url[1].lower()
        if re.search(r"\s", source):  # `redact` relies on this
            raise UserError(f"the {scheme}:// address of the source contains a space", "write it as %20")
        if scheme in ("http", "https"):
            from edge.camera.mjpeg import MjpegCamera

            return MjpegCamera(source, settings)
        if scheme in ("rtsp", "rtsps"):
            from edge.camera.opencv import RtspCamera

            return RtspCamera(source, settings)
        raise UserError(f"source type {scheme}:// is not supported", f"expected {CAMERA_KINDS}")
    if re.fullmatch(r"\d+|/dev/video\S*", source):
        from edge.camera.opencv import V4l2Camera

        return V4l2Camera(source, settings)
    path = Path(source)
    if source and path.is_dir():
        from edge.camera.files import ImageFolder

        return ImageFolder(path, fps=settings.fps)
    if path.is_file():
        from edge.camera.files import VideoFile

        return VideoFile(path)
    raise UserError(f"source {source!r} is neither a file nor a folder nor a camera", f"expected {CAMERA_KINDS}")
