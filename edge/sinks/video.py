"""Write video files: the codecs, and `--record OUT.mp4`."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.errors import UserError
from edge.images import overlay
from edge.messages import FrameResult
from edge.sinks import Sink

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""By suffix; OpenCV ships these codecs on every platform."""


class VideoRecorder(Sink):
    """Writes each frame with the fire mask drawn over it, one video frame per result.

    Args:
        path: .mp4, .avi or .mkv.
        fps: playback rate.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path} is not a video file name", "expected .mp4, .avi or .mkv")
        self._path = path
        self._fps = fps
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def on_result(self, result: FrameResult) -> None:
        height, width = result.rgb.shape[:2]
        if self._writer is None:
            self._size = (width - width % 2, height - height % 2)  # codecs need even sides
            self._writer = open_writer(self._path, self._size, self._fps)
        drawn = overlay(result.rgb, result.mask)
        if (width, height) != self._size:
            drawn = cv2.resize(drawn, self._size).astype(drawn.dtype)
        self._writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None


def open_writer(path: Path, size: tuple[int, int], fps: float) -> cv2.VideoWriter:
    """Return a writer of BGR frames of `size`, (width, height), both even.

    Raises `UserError` if the file cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()]), fps, size)
    if not writer.isOpened():
        raise UserError(f"{path} could not be written as a video", "check the folder and the free disk space")
    return writer
