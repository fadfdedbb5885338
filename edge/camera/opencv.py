"""Cameras read through OpenCV: V4L2 devices such as USB cameras."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.images import to_rgb


class OpenCvCamera:
    """Base class of live cameras behind `cv2.VideoCapture`. A subclass implements `open` and calls `start`."""

    live = True

    def __init__(self, name: str, settings: CameraSettings) -> None:
        self.name = name
        self._settings = settings
        self._capture = cv2.VideoCapture()

    def start(self, capture: cv2.VideoCapture, remedy: str) -> None:
        """Keep an opened capture. Raises `CameraError`."""
        self._capture = capture
        if not capture.isOpened():
            raise CameraError(f"{self.name} could not be opened", remedy)

    def read(self) -> CameraFrame:
        success, bgr = self._capture.read()
        if not success:
            raise CameraError(f"{self.name} returns no more frames")
        return CameraFrame(to_rgb(bgr))

    def close(self) -> None:
        self._capture.release()


class V4l2Camera(OpenCvCamera):
    """A USB camera or another V4L2 device, by number or path: 0 is /dev/video0."""

    def __init__(self, device: str, settings: CameraSettings) -> None:
        super().__init__(f"/dev/video{device}" if device.isdigit() else device, settings)

    def open(self) -> None:
        if not Path(self.name).exists():
            devices = ", ".join(str(path) for path in sorted(Path("/dev").glob("video*"))) or "none"
            raise CameraError(f"{self.name} does not exist (found: {devices})", "plug the camera in, or choose another")
        if not os.access(self.name, os.R_OK | os.W_OK):
            raise CameraError(f"no permission for {self.name}", "run `sudo usermod -aG video $USER` and log in again")
        # OpenCV's own time-out for a frame is 10 s.
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(max(1, round(self._settings.timeout_s)))
        remedy = "another program may use it, or it is not a camera; see `v4l2-ctl --list-devices`"
        self.start(cv2.VideoCapture(self.name, cv2.CAP_V4L2), remedy)
        width, height = self._settings.size
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_FPS, self._settings.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> CameraFrame:
        if not Path(self.name).exists():  # fail at once: OpenCV would wait for its time-out
            raise CameraError(f"{self.name} was unplugged", "plug the camera in again")
        return super().read()
