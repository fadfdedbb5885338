"""Where in the picture fire counts: named polygons in fractions of the frame, and areas that never count.

A polygon is drawn once, in fractions, so that it holds for any camera resolution; on the model's grid it becomes the
cells whose centres lie inside. Without any zone the whole frame is one, named "frame".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Mask
from edge.messages import WHOLE_FRAME as WHOLE_FRAME

LEVEL = 1e-12  # an edge this flat passes between the centres of cells

Point = tuple[float, float]  # x to the right, y downwards, 0..1
Polygon = Sequence[Point]
Cells = npt.NDArray[np.uint8]  # 0 and 1, as OpenCV counts them


@dataclass(frozen=True)
class Zone:
    """A part of the picture that is watched by itself."""

    name: str
    polygon: tuple[Point, ...]


@dataclass(frozen=True)
class Burning:
    """What burns in one zone."""

    share: float
    """Burning cells, as a share of the zone's."""
    cells: Cells
    """The burning cells, at the model's size."""


class ZoneMap:
    """The zones on a model's grid.

    Args:
        zones: what is watched; the whole frame where there is none.
        ignored: areas that never burn, such as a television or a stove.
        height, width: the model's grid.

    Raises `UserError` where a polygon is none, or where nothing of a zone is left to watch.
    """

    def __init__(self, zones: Sequence[Zone], ignored: Sequence[Polygon], height: int, width: int) -> None:
        self.watched = np.ones((height, width), np.uint8)
        for number, polygon in enumerate(ignored, start=1):
            check_polygon(polygon, f"ignored area {number}")
            self.watched[inside(polygon, height, width)] = 0
        if not self.watched.any():
            raise UserError("the ignored areas cover the whole frame", "leave something to watch")
        self.cells: dict[str, Cells] = {}
        for zone in zones:
            check_polygon(zone.polygon, f"zone {zone.name!r}")
            if zone.name in self.cells:
                raise UserError(f"two zones are named {zone.name!r}", "give each a name of its own")
            cells = inside(zone.polygon, height, width).astype(np.uint8) & self.watched
            if not cells.any():
                raise UserError(
                    f"nothing of zone {zone.name!r} is left to watch at {width}x{height} cells",
                    "draw it larger, or ignore less of it",
                )
            self.cells[zone.name] = cells
        if not zones:
            self.cells[WHOLE_FRAME] = self.watched
        self._areas = {name: cv2.countNonZero(cells) for name, cells in self.cells.items()}
        self._watched_area = cv2.countNonZero(self.watched)

    def burning(self, mask: Mask) -> dict[str, Burning]:
        """What burns in each zone, by its name."""
        found: dict[str, Burning] = {}
        for name, cells in self.cells.items():
            burning = cv2.bitwise_and(mask.view(np.uint8), cells).astype(np.uint8, copy=False)
            found[name] = Burning(cv2.countNonZero(burning) / self._areas[name], burning)
        return found

    def fire_share(self, mask: Mask) -> float:
        """What burns of all that is not ignored."""
        return cv2.countNonZero(cv2.bitwise_and(mask.view(np.uint8), self.watched)) / self._watched_area


def check_polygon(polygon: Polygon, what: str) -> None:
    """Raise `UserError` where the corners make no area inside of the frame."""
    if len(polygon) < 3:
        raise UserError(f"{what} has {len(polygon)} corners", "expected at least 3, each [x, y] from 0 to 1")
    for x, y in polygon:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise UserError(f"{what} has a corner at [{x:g}, {y:g}]", "expected fractions of the frame, from 0 to 1")


def inside(polygon: Polygon, height: int, width: int) -> Mask:
    """Which cells of a grid have their centre inside of the polygon, by the even-odd rule.

    A cell belongs to exactly one of two polygons that share an edge, which cv2.fillPoly does not keep to.
    """
    x = (np.arange(width) + 0.5)[None, :] / width
    y = (np.arange(height) + 0.5)[:, None] / height
    odd = np.zeros((height, width), np.bool_)
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if abs(y1 - y2) < LEVEL:
            continue
        crosses = (y1 > y) != (y2 > y)
        odd ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return odd
