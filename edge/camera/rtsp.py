"""A network camera that speaks RTSP, by OpenCV's FFmpeg."""

from __future__ import annotations

import os

import cv2

from edge.camera import CameraSettings
from edge.camera.opencv import OpenCvCamera
from edge.secrets import redact


class Rtsp(OpenCvCamera):
    def __init__(self, url: str, settings: CameraSettings) -> None:
        super().__init__(redact(url))
        self._url = url
        self._settings = settings

    def open(self) -> None:
        # UDP, FFmpeg's choice, smears the picture where packets are lost; smears have been taken for flames.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent
        timeout_ms = round(1000 * self._settings.timeout_s)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        self.start(
            # No other backend: the one for pictures prints the address, password and all.
            cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts),
            {},
            remedy="check that the camera is on, and its address, user and password (with @ as %40)",
        )
