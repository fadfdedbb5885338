"""Measure flicker: how much the image of a fire region changes within a moment.

Flames change shape within 0.2 s; lamps, sunsets and red vehicles do not. The older image patch is searched for in the
neighbourhood of the newer image, so that mere motion is not flicker. Correlation ignores brightness, so that exposure
changes are not flicker either. Flames also persist in place: a carried orange bag swings and turns, but leaves its
former position free of fire pixels, and scores 0. The mask is not compared: it flickers at the edge of any detection.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from edge.detection.zones import Cells
from edge.images import Map

COMPARE_S = 0.2
"""Minimum age of the older image: consecutive frames of a fast camera resemble each other even in a fire."""
ROUNDING_S = 0.001  # frame times are not exact in floating point
REACH_PX = 24
"""Search distance in model pixels: an orange lorry that crosses the frame in 3 s moves that far between two frames."""
MARGIN_PX = 2
MIN_AREA_PX = 12  # smaller regions have too little texture to compare
MIN_PERSISTENCE = 0.25
"""Minimum fraction of a patch that is still fire in the newer mask. Most of a pale brazier reach it after 0.2 s; a bag
that is carried past mostly does not after 0.17 s, and has 0 left after 0.33 s."""
MIN_CONTRAST = 2.0  # standard deviation in grey levels; below it is only sensor noise, which never correlates


class FlickerTracker:
    """Recent model-size grey images and fire cells of one zone."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Map, Cells]] = deque()

    def update(self, t_s: float, grey: Map, cells: Cells, *, compare: bool = True) -> float | None:
        """Store a frame and return the flicker since `COMPARE_S` earlier, 0..1; None without an earlier fire region.

        The arrays are stored: pass new ones each time. `compare=False` stores only.
        """
        history = self._history
        if history and t_s < history[-1][0]:
            history.clear()  # the recording restarted
        latest_s = t_s - COMPARE_S + ROUNDING_S
        while len(history) > 1 and history[1][0] <= latest_s:
            history.popleft()
        before = history[0] if history and history[0][0] <= latest_s else None
        history.append((t_s, grey, cells))
        return flicker_score(before[1], grey, before[2], cells) if compare and before else None


def flicker_score(before: Map, after: Map, fire_before: Cells, fire_after: Cells) -> float | None:
    """Return 1 minus the best correlation of the largest persisting fire patch with its neighbourhood in `after`.

    0 means the same image, perhaps moved or dimmed, or that no patch persists; 1 a different image. None if
    `fire_before` has no patch of at least `MIN_AREA_PX`.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(fire_before)
    areas = stats[1:, cv2.CC_STAT_AREA]
    comparable = areas >= MIN_AREA_PX
    if not comparable.any():
        return None
    remaining = np.bincount(labels[fire_after > 0], minlength=count)[1:]
    persisting = np.where(comparable & (remaining >= MIN_PERSISTENCE * areas), areas, 0)
    if not persisting.any():
        return 0.0
    left, top, width, height, _ = (int(value) for value in stats[1 + int(np.argmax(persisting))])
    patch = _window(before, left, top, width, height, MARGIN_PX)
    if patch.std() < MIN_CONTRAST:
        return 0.0
    neighbourhood = _window(after, left, top, width, height, MARGIN_PX + REACH_PX)
    correlation = float(cv2.matchTemplate(neighbourhood, patch, cv2.TM_CCOEFF_NORMED).max())
    return min(max(1 - correlation, 0.0), 1.0)


def _window(grey: Map, left: int, top: int, width: int, height: int, margin: int) -> Map:
    return grey[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
