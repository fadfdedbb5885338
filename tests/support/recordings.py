"""Recordings for tests of the evaluation: the test pattern as frames and as videos, and a model that counts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.camera.pattern import FLAMES_FROM_S, HEIGHT, WIDTH, PatternCamera
from edge.evaluation.replay import MemoSegmenter
from edge.images import Frame, Map

FPS = 10.0
FIRE_FROM_S = 1.0
"""When the flames of `pattern_recording` begin."""


class CountingRed(MemoSegmenter):
    """Predicts fire where red saturates, and counts its passes."""

    def __init__(self) -> None:
        self.height = self.width = 112
        self.threshold_u8 = 128
        self.passes = 0
        self._maps: dict[bytes, Map] = {}

    def load(self, frame: Frame) -> None:
        self._map = ((frame[..., 0] > 200) & (frame[..., 2] < 230)).astype(np.uint8) * 255

    def invoke(self) -> None:
        self.passes += 1

    def result(self) -> Map:
        return self._map


def pattern_recording(seconds: float, *, flames: bool = True, fps: float = FPS) -> list[tuple[float, Frame]]:
    """Return the test pattern, with flames from `FIRE_FROM_S` on or with none."""
    pattern = PatternCamera(fps=fps)
    start_s = FLAMES_FROM_S - FIRE_FROM_S if flames else 0.0
    times_s = [number / fps for number in range(round(seconds * fps))]
    return [(t_s, pattern.frame(start_s + t_s if flames else 0.0)) for t_s in times_s]


def write_video(path: Path, frames: list[tuple[float, Frame]], fps: float = FPS) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    for _, rgb in frames:
        writer.write(rgb[..., ::-1])
    writer.release()
    return path
