"""`--record OUT.mp4`: what was seen with what burns laid over it, as a video."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.errors import UserError
from edge.images import overlay
from edge.messages import FrameResult
from edge.sinks import Sink
from edge.sinks.video import open_writer


class Record(Sink):
    """One frame a result. `fps` is how fast the video plays."""

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in (".mp4", ".avi", ".mkv"):
            raise UserError(f"{path} has no video's suffix", "expected .mp4, .avi or .mkv")
        self._path = path
        self._fps = fps
        self._size: tuple[int, int] | None = None
        self._writer: cv2.VideoWriter | None = None

    def on_result(self, result: FrameResult) -> None:
        height, width = result.rgb.shape[:2]
        if self._writer is None:
            self._size = (width - width % 2, height - height % 2)  # codecs want even sides
            self._writer = open_writer(self._path, self._size, self._fps)
        assert self._size is not None
        drawn = overlay(result.rgb, result.mask)
        if (width, height) != self._size:
            drawn = cv2.resize(drawn, self._size).astype(drawn.dtype)
        self._writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
