"""Whether what burns looks alive: how little its picture resembles that of a moment before.

Flames lick and flicker, so that within some tenths of a second their picture is another one. A lamp, a sunset and a
parked red truck look the same, and one that drives past looks the same a little further on: the older picture is
sought in the newer one, in the neighbourhood. Brighter or darker altogether counts as the same, or a camera that
adjusts its exposure would bring every lamp to life. An orange bag that somebody carries swings, turns and passes behind
a leg; but a moment later little or nothing burns where it was, and flames stay: what has moved on is not alive.

It is the picture that is compared and not the mask: at the edge of what a model takes for fire the mask flickers by
itself.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from edge.detection.zones import Cells
from edge.images import Map

COMPARE_S = 0.2
"""How much older the picture is that a new one is compared with, at least: neighbouring frames of a fast camera are
alike even in a fire."""
ROUNDING_S = 0.001  # times of frames are multiples of what no float holds exactly
REACH_PX = 24
"""How far things may have moved meanwhile, in the model's pixels: an orange lorry that crosses the picture in three
seconds moves 16 to 25 between two frames of a slow camera. Fires look no more alike for being sought further."""
MARGIN_PX = 2
MIN_AREA_PX = 12
"""Less is a speck, without a look of its own."""
MIN_STAY = 0.25
"""How much of a patch must burn still a moment later. Of a brazier's flames by day, small and pale, four fifths of the
largest patches have this much after 0.2 s; a bag that is carried past has none left after 0.33 s, and after 0.17 s
mostly less."""
MIN_CONTRAST = 2.0
"""Standard deviation, in grey levels: below it there is only the camera's noise, which never looks the same."""


class FlickerTracker:
    """The model-size grey pictures and burning cells of the last moments, in one zone."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Map, Cells]] = deque()

    def change(self, t_s: float, grey: Map, cells: Cells, *, compare: bool = True) -> float | None:
        """How much what burned a moment ago has changed since, 0..1; None where nothing burned or nobody looked.

        `grey` and `cells` are kept: hand in new arrays each time. Without `compare` they are kept and no more.
        """
        past = self._past
        if past and t_s < past[-1][0]:
            past.clear()  # a recording that began anew
        old_s = t_s - COMPARE_S + ROUNDING_S
        while len(past) > 1 and past[1][0] <= old_s:
            past.popleft()
        before = past[0] if past and past[0][0] <= old_s else None
        past.append((t_s, grey, cells))
        return patch_change(before[1], grey, before[2], cells) if compare and before else None


def patch_change(before: Map, after: Map, burned: Cells, burning: Cells) -> float | None:
    """One minus the best correlation of a patch that burned in `before`, and burns in `after` still, with its
    neighbourhood in `after`; of such patches the largest.

    0 is the same picture, moved or dimmed perhaps, or one that has moved on, so that no patch burns where it did; 1 is
    another picture. None where nothing of a size burned before.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(burned)
    areas = stats[1:, cv2.CC_STAT_AREA]
    sized = areas >= MIN_AREA_PX
    if not sized.any():
        return None
    still = np.bincount(labels[burning > 0], minlength=count)[1:]
    staying = np.where(sized & (still >= MIN_STAY * areas), areas, 0)
    if not staying.any():
        return 0.0
    left, top, width, height, _ = (int(value) for value in stats[1 + int(np.argmax(staying))])
    patch = _window(before, left, top, width, height, MARGIN_PX)
    if patch.std() < MIN_CONTRAST:
        return 0.0
    around = _window(after, left, top, width, height, MARGIN_PX + REACH_PX)
    likeness = float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).max())
    return min(max(1 - likeness, 0.0), 1.0)


def _window(grey: Map, left: int, top: int, width: int, height: int, margin: int) -> Map:
    return grey[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
