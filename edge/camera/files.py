"""A video file, at its own time."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.camera.base import CameraFrame
from edge.errors import UserError
from edge.images import to_rgb

FALLBACK_FPS = 25.0  # for files that do not say
MAX_FPS = 1000.0  # what some broken headers say is above


class VideoFile:
    live = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._capture: cv2.VideoCapture | None = None
        self._frame_s = 1 / FALLBACK_FPS
        self._t_s = 0.0
        self._read_any = False

    def open(self) -> None:
        self._capture = cv2.VideoCapture(self.name)
        if not self._capture.isOpened():
            raise UserError(
                f"{self.name} is not a video that can be read", "expected a whole MP4, AVI, MKV or the like"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._frame_s = 1 / (fps if 0 < fps <= MAX_FPS else FALLBACK_FPS)
        self._read_any = False

    def read(self) -> CameraFrame | None:
        assert self._capture is not None, "read before open"
        read, bgr = self._capture.read()
        if not read:
            if not self._read_any:
                raise UserError(f"{self.name} holds no frame that can be read", "get the whole file again")
            return None
        # The file's own stamps, so that recordings of uneven rate keep their time; else the rate it names.
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not self._read_any:
            self._t_s = max(stamp_s, 0.0)
        else:
            self._t_s = stamp_s if stamp_s > self._t_s else self._t_s + self._frame_s
        self._read_any = True
        return CameraFrame(to_rgb(bgr), t_s=self._t_s)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
