"""Cameras and recordings: one class per kind, chosen by the text of `--source`.

`build_camera` imports a kind's module only on demand, so that a missing camera library breaks no other kind.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from edge.camera.base import Camera, CameraError, CameraFrame, CameraSettings
from edge.errors import UserError
from edge.images import IMAGE_SUFFIXES

__all__ = ["CAMERA_KINDS", "CAMERA_NAMES", "Camera", "CameraError", "CameraFrame", "CameraSettings", "build_camera"]

CAMERA_KINDS = (
    "picamera2, a V4L2 device (0, /dev/video0 or /dev/v4l/by-id/…), rtsp://…, http://… (MJPEG or snapshots), "
    "a video file, an image or a folder of images, or test-pattern"
)
V4L2_MAJOR = 81  # of Linux' device numbers


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
            from edge.camera.rtsp import RtspCamera

            return RtspCamera(source, settings)
        raise UserError(f"source type {scheme}:// is not supported", f"expected {CAMERA_KINDS}")
    path = Path(source)
    try:
        is_device = re.fullmatch(r"\d+|/dev/.+", source) or _is_device(path)
        is_folder, is_file = source and path.is_dir(), path.is_file()
    except OSError as error:  # such as a name that is too long
        raise UserError(
            f"source {source[:40]!r} is not a path ({error.strerror})", f"expected {CAMERA_KINDS}"
        ) from error
    if is_device:
        from edge.camera.opencv import V4l2Camera

        return V4l2Camera(source, settings)
    if is_folder or (is_file and path.suffix.lower() in IMAGE_SUFFIXES):
        from edge.camera.files import ImageFolder

        return ImageFolder(path, fps=settings.fps)
    if is_file:
        from edge.camera.files import VideoFile

        return VideoFile(path)
    raise UserError(f"source {source!r} is neither a file nor a folder nor a camera", f"expected {CAMERA_KINDS}")


def _is_device(path: Path) -> bool:
    """Return whether a path is a V4L2 device, or a link to one, plugged in or not."""
    if path.is_symlink() and Path(os.path.realpath(path)).is_relative_to("/dev"):  # unlike resolve, takes loops
        return True
    status = path.stat() if path.exists() else None
    return status is not None and stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == V4L2_MAJOR
