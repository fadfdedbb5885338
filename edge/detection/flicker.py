"""Measure flicker: how much the image of a region changes within a moment, motion and brightness set aside.

Flames change shape within 0.2 s; lamps, sunsets and red vehicles do not. The older image of a region is searched for
in the newer one and its brightness matched, so that neither a passing lorry nor a blinking sign counts as flicker.
Measured on the frame's own pixels: at model size a small flame is a steady blob.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.detection.regions import Region
from edge.detection.tracks import Sighting
from edge.detection.zones import Cells
from edge.images import Frame
from edge.messages import Box

COMPARE_S = 0.2
"""Minimum age of the older frame: consecutive frames of a fast camera resemble each other even in a fire."""
SPACING_S = 0.05
"""Kept frames are this far apart at least: of a fast camera only some are kept, since each may have megabytes."""
ROUNDING_S = 0.001  # frame times are not exact in floating point
MAX_SIDE_PX = 96
"""Larger windows are reduced to between half this side and all of it: it bounds the cost, and large flames need no more
detail."""
MARGIN_CELLS = 2.0
MARGIN = 0.3
"""Search distance on each side: cells of the model grid, plus a fraction of the region's longer side."""
MIN_CONTRAST = 1.0  # standard deviation in grey levels; below it, a patch has nothing to register by

AROUND = np.ones((5, 5), np.uint8)
"""Pixels this close to the region are not its surroundings: its glow and its blurred edge."""

Grey = npt.NDArray[np.float32]


class KeptFrame(NamedTuple):
    """A frame of the last moment."""

    t_s: float
    rgb: Frame


class RecentFrames:
    """The frames of the last moment, to compare a region with what was there before."""

    def __init__(self) -> None:
        self._frames: deque[KeptFrame] = deque()

    def add(self, t_s: float, rgb: Frame) -> None:
        """Keep a frame, and the newest one that is at least `COMPARE_S` older."""
        frames = self._frames
        if frames and (t_s < frames[-1].t_s or rgb.shape != frames[-1].rgb.shape):
            frames.clear()  # the recording restarted, or the camera changed its mode
        if len(frames) > 1 and frames[-1].t_s - frames[-2].t_s < SPACING_S:
            frames.pop()
        frames.append(KeptFrame(t_s, rgb))
        while len(frames) > 2 and t_s - frames[1].t_s >= COMPARE_S - ROUNDING_S:
            frames.popleft()

    def flicker(self, sightings: Sequence[Sighting], region: Region) -> float | None:
        """Return the flicker score of a track, from where it was `COMPARE_S` ago to its region in the newest frame.

        None if there is no such frame, or the track is newer.
        """
        (before_s, before), (now_s, now) = self._frames[0], self._frames[-1]
        if now_s - before_s < COMPARE_S - ROUNDING_S:
            return None
        seen = (sighting.region for sighting in reversed(sightings) if sighting.region and sighting.t_s <= before_s)
        was = next(seen, None)
        return None if was is None else flicker_score(before, was, now, region)


def flicker_score(before: Frame, was: Region, after: Frame, now: Region) -> float:
    """Return the mean change of a region's grey levels between two frames, as a fraction of their brightness.

    The change that remains after registration (the best translation) and gain, less that of the surroundings: 0 for
    the same image, moved or dimmed.

    Args:
        before, after: frames of the same shape, in time order.
        was, now: the region in each of them.
    """
    height, width = now.grid
    left, top = min(was.left, now.left), min(was.top, now.top)
    right, bottom = max(was.right, now.right), max(was.bottom, now.bottom)
    margin = MARGIN_CELLS + MARGIN * max(right - left, bottom - top)
    left, top = max(0, int(left - margin)), max(0, int(top - margin))
    right, bottom = min(width, int(right + margin) + 1), min(height, int(bottom + margin) + 1)
    cells = np.zeros((bottom - top, right - left), np.uint8)
    for region in (was, now):
        window = cells[region.top - top : region.bottom - top, region.left - left : region.right - left]
        np.bitwise_or(window, region.cells, out=window)
    old, new = (
        _window(frame, (left / width, top / height, right / width, bottom / height)) for frame in (before, after)
    )
    inside = cv2.resize(cells, old.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    rows = _pixels(was.top - top, was.bottom - top, cells.shape[0], old.shape[0])
    columns = _pixels(was.left - left, was.right - left, cells.shape[1], old.shape[1])
    return _residual(old, new, inside, rows, columns)


def _pixels(start: int, end: int, cells: int, pixels: int) -> slice:
    """Return the pixels of cells, one cell more on each side."""
    return slice(round(max(start - 1, 0) * pixels / cells), round(min(end + 1, cells) * pixels / cells))


def _window(frame: Frame, box: Box) -> Grey:
    """Return the grey levels of a box of the frame, reduced to at most `MAX_SIDE_PX`."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (round(edge * size) for edge, size in zip(box, (width, height) * 2, strict=True))
    left, top = min(left, width - 1), min(top, height - 1)  # a frame may have fewer pixels than the grid has cells
    window = frame[top : max(bottom, top + 4), left : max(right, left + 4)]
    # Averages of 2 x 2 pixels, in larger windows of every n-th pixel: as good as averages of all, and cheaper.
    reduction = math.ceil(max(window.shape[:2]) / MAX_SIDE_PX)
    step = (reduction + 1) // 2
    grey = np.ascontiguousarray(cv2.cvtColor(window[::step], cv2.COLOR_RGB2GRAY)[:, ::step])
    if reduction > 1:
        rows, columns = (max(4, side // 2) for side in grey.shape)
        grey = cv2.resize(grey[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32)


def _residual(old: Grey, new: Grey, inside: Cells, rows: slice, columns: slice) -> float:
    """Return the change inside the region that registration and gain leave, less that of its surroundings.

    The surroundings change by sensor noise, by compression, and like the region where everything moves: water, leaves.
    """
    patch, region = old[rows, columns], inside[rows, columns]
    if not cv2.countNonZero(region) or float(cv2.meanStdDev(patch)[1][0, 0]) < MIN_CONTRAST:
        return 0.0
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(new, patch, cv2.TM_CCOEFF_NORMED))
    match = new[y : y + patch.shape[0], x : x + patch.shape[1]]
    level = max(cv2.mean(patch, region)[0], 1.0)
    change = cv2.mean(_differences(patch, match, region), region)[0]
    around = (cv2.dilate(inside, AROUND) == 0).astype(np.uint8)
    then, now = _shifted(old.shape, x - columns.start, y - rows.start)
    around = around[then]
    noise = 0.0
    if cv2.countNonZero(around):
        differences = _differences(old[then], new[now], around)[around > 0]
        noise = float(np.partition(differences, len(differences) // 2)[len(differences) // 2])
    return min(max(change - noise, 0.0) / level, 1.0)


def _differences(old: Grey, new: Grey, mask: Cells) -> Grey:
    """Return the absolute differences after matching the mean within the mask."""
    gain = (cv2.mean(old, mask)[0] + 1) / (cv2.mean(new, mask)[0] + 1)
    return np.abs(new * np.float32(gain) - old)


def _shifted(shape: tuple[int, ...], x: int, y: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the overlap of two images of this shape, as slices of each; the second is moved by (x, y) pixels."""
    height, width = shape
    then = np.s_[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    now = np.s_[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    return then, now
