"""Recordings: a video file with its own timestamps, and an image folder at a fixed frame rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from edge.camera.base import CameraFrame
from edge.errors import UserError
from edge.images import list_images, read_rgb, to_rgb

FALLBACK_FPS = 25.0  # for files without a frame rate
MAX_FPS = 1000.0  # higher rates come from broken headers


class VideoFile:
    live = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._capture = cv2.VideoCapture()
        self._t_s: float | None = None
        """Time of the last frame; None before the first."""

    def open(self) -> None:
        if not self._capture.open(self.name):
            raise UserError(f"{self.name} is not a readable video", "expected a whole MP4, AVI, MKV or similar")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._frame_s = 1 / (fps if 0 < fps <= MAX_FPS else FALLBACK_FPS)
        self._t_s = None

    def read(self) -> CameraFrame | None:
        success, bgr = self._capture.read()
        if not success:
            if self._t_s is None:
                raise UserError(f"{self.name} contains no readable frame", "copy or download it again")
            return None
        # The file's timestamps keep an uneven frame rate; where they do not advance, the nominal rate fills in.
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        next_s = 0.0 if self._t_s is None else self._t_s + self._frame_s
        self._t_s = stamp_s if stamp_s > (self._t_s or 0.0) else next_s
        return CameraFrame(to_rgb(bgr), t_s=self._t_s)

    def close(self) -> None:
        self._capture.release()


class ImageFolder:
    """The images of a folder in the order of their names."""

    live = False

    def __init__(self, path: Path, *, fps: float) -> None:
        self.name = str(path)
        self._path, self._fps = path, fps
        self._remaining: Iterator[tuple[int, Path]] = iter(())

    def open(self) -> None:
        images = list_images(self._path)
        if not images:
            raise UserError(f"{self._path} contains no images", "expected .jpg, .png or similar files")
        self._remaining = iter(enumerate(images))

    def read(self) -> CameraFrame | None:
        index, path = next(self._remaining, (0, None))
        return CameraFrame(read_rgb(path), t_s=index / self._fps) if path else None

    def close(self) -> None:
        self._remaining = iter(())
