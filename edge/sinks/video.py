"""Write video files: clips, and `--record OUT.mp4`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

from edge.errors import UserError
from edge.images import overlay
from edge.messages import FrameResult
from edge.sinks import Sink

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""By suffix; OpenCV ships these codecs on every platform."""


class VideoFile:
    """A video with the size of its first frame, to which others are scaled. `write` may raise `UserError`."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def write(self, bgr: npt.NDArray[Any]) -> None:
        height, width = bgr.shape[:2]
        if self._writer is None:
            self._size = (width - width % 2, height - height % 2)  # codecs need even sides
            codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
            writer = cv2.VideoWriter(str(self._path), codec, self._fps, self._size)
            if not writer.isOpened():
                raise UserError(f"{self._path} could not be written as a video", "check the folder and the free space")
            self._writer = writer
        self._writer.write(bgr if (width, height) == self._size else cv2.resize(bgr, self._size))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


class VideoRecorder(Sink):
    """Writes each frame with the fire mask drawn over it, one video frame per result.

    Args:
        path: .mp4, .avi or .mkv.
        fps: playback rate.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path} is not a video file name", "expected .mp4, .avi or .mkv")
        self._video = VideoFile(path, fps)

    def on_result(self, result: FrameResult) -> None:
        self._video.write(cv2.cvtColor(overlay(result.rgb, result.mask), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._video.close()
