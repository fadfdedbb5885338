"""Cameras read through OpenCV: V4L2 devices such as USB cameras, and RTSP network cameras."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.errors import reason_of
from edge.images import to_rgb
from edge.secrets import redact


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


class RtspCamera(OpenCvCamera):
    """A network camera that speaks RTSP, through OpenCV's FFmpeg backend."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        super().__init__(redact(url), settings)
        self._url = url

    def open(self) -> None:
        # TCP: lost UDP packets smear the frame, and the model has detected fire in smears.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent
        check_connection(self._url, self.name, self._settings.timeout_s)
        timeout_ms = round(1000 * self._settings.timeout_s)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        remedy = "check that the camera is on, and its address, user and password (write @ as %40)"
        # FFmpeg only: OpenCV's image backend would print the address with its password.
        self.start(cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts), remedy)


def check_connection(url: str, name: str, timeout_s: float) -> None:
    """Raise `CameraError` with the reason if nothing accepts a connection at an RTSP address; FFmpeg gives none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (322 if parts.scheme.lower() == "rtsps" else 554)
        socket.create_connection((parts.hostname or "", port), timeout_s).close()
    except OSError as error:
        raise CameraError(
            f"{name} does not answer ({reason_of(error)})", "check the address and that it is on"
        ) from None
    except ValueError:  # an invalid port or host: its text may quote a password, and FFmpeg refuses it, too
        return
