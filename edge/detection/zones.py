"""Zones: named polygons that raise alarms of their own, and ignored areas.

Corners are fractions of the frame, independent of camera resolution. On the model grid a polygon becomes the cells
whose centres lie inside. Without zones the whole frame is one zone, named "frame".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Mask
from edge.messages import WHOLE_FRAME

MAX_CORNERS = 1000
HORIZONTAL = 1e-12  # an edge with a smaller rise passes no cell centre

Point = tuple[float, float]  # x to the right, y downwards, 0..1
Polygon = Sequence[Point]
Cells = npt.NDArray[np.uint8]  # 0 and 1, as OpenCV counts them


@dataclass(frozen=True)
class Zone:
    """A part of the frame with its own alarm."""

    name: str
    polygon: tuple[Point, ...]


class ZoneMap:
    """The zones on the model grid.

    Args:
        zones: the zones; the whole frame if empty.
        ignored: areas that never count, such as a television or a stove.
        height, width: size of the model grid.

    Raises `UserError` for an invalid polygon, or a zone without cells.
    """

    def __init__(self, zones: Sequence[Zone], ignored: Sequence[Polygon], height: int, width: int) -> None:
        self.monitored = np.ones((height, width), np.uint8)
        for number, polygon in enumerate(ignored, start=1):
            check_polygon(polygon, f"ignored area {number}")
            self.monitored[cells_inside(polygon, height, width)] = 0
        if not self.monitored.any():
            raise UserError("the ignored areas cover the whole frame", "leave a part of it uncovered")
        self.cells: dict[str, Cells] = {}
        for zone in zones:
            check_polygon(zone.polygon, f"zone {zone.name!r}")
            if zone.name in self.cells:
                raise UserError(f"two zones are named {zone.name!r}", "choose unique names")
            cells = cells_inside(zone.polygon, height, width).astype(np.uint8) & self.monitored
            if not cells.any():
                problem = f"zone {zone.name!r} covers no cell of the {width}x{height} model grid"
                raise UserError(problem, "draw it larger, or ignore less")
            self.cells[zone.name] = cells
        if not zones:
            self.cells[WHOLE_FRAME] = self.monitored
        self._sizes = {name: cv2.countNonZero(cells) for name, cells in self.cells.items()}
        self._monitored_size = cv2.countNonZero(self.monitored)

    def shares(self, mask: Mask) -> dict[str, float]:
        """Return the fire area of each zone, as a fraction of the zone, by its name."""
        fire = mask.view(np.uint8)
        return {
            name: cv2.countNonZero(np.bitwise_and(fire, cells)) / self._sizes[name]
            for name, cells in self.cells.items()
        }

    def fire_share(self, mask: Mask) -> float:
        """Return the fire area as a fraction of the frame without its ignored areas."""
        return cv2.countNonZero(np.bitwise_and(mask.view(np.uint8), self.monitored)) / self._monitored_size


def check_polygon(polygon: Polygon, label: str) -> None:
    """Raise `UserError` unless the polygon has 3 to `MAX_CORNERS` corners inside the frame."""
    if not 3 <= len(polygon) <= MAX_CORNERS:
        expected = f"expected 3 to {MAX_CORNERS:,}, each [x, y] from 0 to 1"
        raise UserError(f"{label} has {len(polygon):,} corners", expected)
    for x, y in polygon:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise UserError(f"{label} has a corner at [{x:g}, {y:g}]", "expected fractions of the frame, from 0 to 1")


def cells_inside(polygon: Polygon, height: int, width: int) -> Mask:
    """Return the cells whose centre lies inside the polygon, by the even-odd rule.

    Each cell belongs to exactly one of two polygons that share an edge; with cv2.fillPoly it may belong to both.
    """
    x = (np.arange(width) + 0.5)[None, :] / width
    y = (np.arange(height) + 0.5)[:, None] / height
    odd = np.zeros((height, width), np.bool_)
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if abs(y1 - y2) < HORIZONTAL:
            continue
        crosses = (y1 > y) != (y2 > y)
        odd ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return odd
