"""Flames laid as light over camera frames: by a fire drill, and to measure the smallest flame that raises an alarm."""

from __future__ import annotations

import cv2
import numpy as np

from edge.camera.pattern import MAX_INTENSITY, PatternCamera, as_shown, emitted_light
from edge.images import Frame
from edge.messages import Box

FLAME_ROWS, FLAME_COLUMNS = slice(20, 197), slice(115, 275)
"""Where the test pattern's flame is, in pixels of its frame."""
LABEL = "DRILL"
LABEL_HEIGHT = 0.1  # of the frame's


class PaintedFlame:
    """The flame of the test pattern on black, without its room and its glow.

    Example:
        >>> flame = PaintedFlame()
        >>> lit = lay(frame, resized(flame.at(1.5), height=90), (0.5, 0.5))
    """

    ASPECT = (FLAME_COLUMNS.stop - FLAME_COLUMNS.start) / (FLAME_ROWS.stop - FLAME_ROWS.start)
    """Width by height."""

    def __init__(self) -> None:
        self._pattern = PatternCamera(fps=1)
        self._colours = as_shown(emitted_light(np.linspace(0, MAX_INTENSITY, 256, dtype=np.float32)))

    def at(self, t_s: float) -> Frame:
        """Return the image at a time from 0 on, always of the same size."""
        intensity = self._pattern.flame(t_s)[FLAME_ROWS, FLAME_COLUMNS]
        level = np.rint(intensity * (255 / MAX_INTENSITY)).astype(np.uint8)
        return cv2.LUT(cv2.merge([level] * 3), self._colours).astype(np.uint8, copy=False)


def resized(image: Frame, height: int) -> Frame:
    """Return an image at this height, with its shape."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method).astype(np.uint8, copy=False)


def lay(scene: Frame, flame: Frame, centre: tuple[float, float], *, soot: float = 0.0) -> Frame:
    """Return the scene with a flame as light over it, by screen blending: 255 - (255 - a)(255 - b) / 255.

    Args:
        centre: of the flame, as fractions of the scene; the flame is moved and cut to lie inside.
        soot: how much of the scene its brightest parts hide, 0..1; with 0, a flame before a white wall is invisible.
    """
    height, width = scene.shape[:2]
    flame = flame[:height, :width]
    rows, columns = flame.shape[:2]
    top = min(max(round(centre[1] * height - rows / 2), 0), height - rows)
    left = min(max(round(centre[0] * width - columns / 2), 0), width - columns)
    lit = scene.copy()
    below = lit[top : top + rows, left : left + columns]
    if soot:
        below[:] = below * (1 - soot / 255 * flame.max(axis=2, keepdims=True))
    below[:] = 255 - cv2.multiply(255 - below, 255 - flame, scale=1 / 255)
    return lit


def box_around(centre: tuple[float, float], width: float, height: float) -> Box:
    """Return the box in which `lay` puts a flame of this size, all as fractions of the frame."""
    width, height = min(width, 1.0), min(height, 1.0)
    left = min(max(centre[0] - width / 2, 0.0), 1 - width)
    top = min(max(centre[1] - height / 2, 0.0), 1 - height)
    return left, top, left + width, top + height


def labelled(frame: Frame) -> Frame:
    """Return a copy of a frame with "DRILL" written into its upper left corner."""
    drawn = np.ascontiguousarray(frame).copy()
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(LABEL_HEIGHT * frame.shape[0] / 22, 0.4)  # 22 px at scale 1
    margin = max(2, round(0.02 * frame.shape[0]))
    thickness = max(1, round(2 * scale))
    place = margin, margin + round(22 * scale)
    cv2.putText(drawn, LABEL, place, font, scale, (0, 0, 0), 3 * thickness, cv2.LINE_AA)
    cv2.putText(drawn, LABEL, place, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return drawn
