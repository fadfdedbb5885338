"""Frames without an alarm, kept in memory for an hour: a new model is compared with the old one on them.

In memory, since a frame a minute would wear the SD card. They are on disk only while a new model is compared.
"""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path

import cv2

from edge.files import write_private
from edge.images import Frame, encode_jpeg
from edge.messages import FrameResult
from edge.update.store import FRAMES, FRAMES_WANTED

INTERVAL_S, KEPT = 60.0, 60
MAX_SIDE_PX, JPEG_QUALITY = 640, 90  # about 80 kB each


class QuietFrames:
    """Keeps one frame a minute, if no alarm is raised in the following minute.

    Example:
        >>> frames = QuietFrames()
        >>> frames.add(result)
        >>> frames.write_if_wanted(store.folder)
    """

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._latest: Frame | None = None
        self._latest_s = -INTERVAL_S

    def add(self, result: FrameResult, now_s: float) -> None:
        """Consider the frame of a result; for the loop's thread."""
        if result.drill or result.camera_problem or any(result.alarms.values()):
            self._latest, self._latest_s = None, now_s  # the frame before an alarm may show the fire
        elif now_s - self._latest_s >= INTERVAL_S:
            if self._latest is not None:
                self._kept.append(bytes(encode_jpeg(self._latest, JPEG_QUALITY)))
            self._latest, self._latest_s = _small(result.rgb), now_s

    def write_if_wanted(self, folder: Path) -> None:
        """Write the frames into a folder if a file asks for them. Raises `UserError` or OSError."""
        wanted, frames = folder / FRAMES_WANTED, folder / FRAMES
        if not wanted.exists():
            return
        shutil.rmtree(frames, ignore_errors=True)
        for number, jpeg in enumerate(list(self._kept)):
            write_private(frames / f"{number:02d}.jpg", jpeg)
        wanted.unlink(missing_ok=True)  # last: the frames are complete


def _small(rgb: Frame) -> Frame:
    scale = MAX_SIDE_PX / max(rgb.shape[:2])
    if scale >= 1:
        return rgb.copy()
    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
