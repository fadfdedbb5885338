"""A USB camera or another V4L2 device, by OpenCV."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from edge.camera import CameraSettings
from edge.camera.base import CameraError, CameraFrame
from edge.camera.opencv import OpenCvCamera


class Device(OpenCvCamera):
    """`device` is a number or a path: 0 is /dev/video0."""

    def __init__(self, device: str, settings: CameraSettings) -> None:
        super().__init__(f"/dev/video{device}" if device.isdigit() else device)
        self._settings = settings

    def open(self) -> None:
        if not Path(self.name).exists():
            raise CameraError(f"there is no {self.name} (there is {devices()}): plug the camera in, or name another")
        if not os.access(self.name, os.R_OK | os.W_OK):
            raise CameraError(f"{self.name} may not be opened: run `sudo usermod -aG video $USER` and log in again")
        # OpenCV waits for a V4L2 frame as long as this says, 10 s by itself.
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(max(1, round(self._settings.timeout_s)))
        width, height = self._settings.size
        self.start(
            cv2.VideoCapture(self.name, cv2.CAP_V4L2),
            {
                cv2.CAP_PROP_FRAME_WIDTH: width,
                cv2.CAP_PROP_FRAME_HEIGHT: height,
                cv2.CAP_PROP_FPS: self._settings.fps,
                cv2.CAP_PROP_BUFFERSIZE: 1,
            },
            remedy="another program may hold it, or it is no camera: see `v4l2-ctl --list-devices`",
        )

    def read(self) -> CameraFrame:
        if not Path(self.name).exists():  # unplugged: OpenCV would wait out its time
            raise CameraError(f"{self.name} is gone: plug the camera in again")
        return super().read()


def devices() -> str:
    """The V4L2 devices there are, for a message."""
    return ", ".join(str(path) for path in sorted(Path("/dev").glob("video*"))) or "no camera at all"
