"""Recognise frames without colour, as of a camera that lights the night with infrared."""

from __future__ import annotations

import cv2
import numpy as np

from edge.images import Frame

STRIDE = 4  # a sixteenth of the pixels is enough for a mean
MAX_COLOUR = 1.5
"""Mean difference of a pixel's largest and smallest channel, in grey levels, up to which a frame has no colour. Decoded
grey video has 0 to 1; an empty road, the palest of 33 recordings in colour, 2.4."""
HOLD_S = 2.0
"""A change counts after this long: cameras show a few grey frames while they switch their filter."""


class InfraredSwitch:
    """Whether the camera sends frames without colour, judged over `HOLD_S`."""

    def __init__(self) -> None:
        self.is_on = False
        self._other_since_s: float | None = None

    def update(self, t_s: float, rgb: Frame) -> bool:
        """Return the state after one more frame, RGB of any size."""
        if is_colourless(rgb) == self.is_on:
            self._other_since_s = None
        elif self._other_since_s is None or t_s < self._other_since_s:
            self._other_since_s = t_s
        elif t_s - self._other_since_s >= HOLD_S:
            self.is_on, self._other_since_s = not self.is_on, None
        return self.is_on


def is_colourless(rgb: Frame) -> bool:
    """Return whether a frame is grey. A frame that is black or white has no colour either."""
    red, green, blue = cv2.split(np.ascontiguousarray(rgb[::STRIDE, ::STRIDE]))
    largest, smallest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return cv2.mean(cv2.subtract(largest, smallest))[0] <= MAX_COLOUR
