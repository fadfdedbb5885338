"""What cameras read by OpenCV have in common."""

from __future__ import annotations

from collections.abc import Mapping

import cv2

from edge.camera.base import CameraError, CameraFrame
from edge.images import to_rgb


class OpenCvCamera:
    """A camera behind `cv2.VideoCapture`; a kind of camera opens its own and hands it to `start`."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._capture: cv2.VideoCapture | None = None
        cv2.setLogLevel(0)  # it logs in its own format, and whole addresses with their passwords

    def start(self, capture: cv2.VideoCapture, wishes: Mapping[int, float], *, remedy: str) -> None:
        """Take the capture if it opened, and ask the camera for what it may or may not do. Raises `CameraError`."""
        if not capture.isOpened():
            capture.release()
            raise CameraError(f"{self.name} could not be opened: {remedy}")
        for key, value in wishes.items():
            capture.set(key, value)
        self._capture = capture

    def read(self) -> CameraFrame:
        assert self._capture is not None, "read before open"
        read, bgr = self._capture.read()
        if not read:
            raise CameraError(f"{self.name} gives no more frames")
        return CameraFrame(to_rgb(bgr))

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
