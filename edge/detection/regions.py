"""Regions: connected fire pixels of a probability map, on the model grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge.detection.zones import Cells
from edge.images import Frame, Map
from edge.messages import Box

MAX_REGIONS = 24
"""The largest regions are kept: each costs time, and a frame with more is rain, glitter or one scattered fire."""
MIN_CELLS = 3
"""Smaller regions are noise. A flame of 4 % of the frame's height covers about 12 cells of a 224x224 grid."""
VISIBLE = 0.6
"""A region whose mean in the map of the whole frame is below this part of its peak is one that only tiles show."""
JOIN = np.ones((3, 3), np.uint8)
"""Regions closer than three cells are one: the tongues of a flame come apart and meet again."""


@dataclass(frozen=True)
class Region:
    """Connected fire pixels in one frame."""

    left: int
    top: int
    cells: Cells
    """The fire cells of its bounding box, 0 or 1, of shape (height, width)."""
    grid: tuple[int, int]
    """Height and width of the model grid."""
    area: int
    """Fire cells."""
    probability: float
    """Mean over its cells, 0..1."""
    redness: float = 0.0
    """Largest excess of red over blue among its cells, in grey levels; above that of its surroundings if they are blue,
    since the light of a flame adds to that of the sky behind it."""
    needs_tile: bool = False
    """Whether it was seen in a tile alone, not in the whole frame."""
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean red, green and blue of its cells, in grey levels."""

    @property
    def right(self) -> int:
        return self.left + self.cells.shape[1]

    @property
    def bottom(self) -> int:
        return self.top + self.cells.shape[0]

    @property
    def centre(self) -> tuple[int, int]:
        """Row and column of the middle of its bounding box."""
        return (self.top + self.bottom) // 2, (self.left + self.right) // 2

    @property
    def share(self) -> float:
        """Area fraction of the frame."""
        return self.area / (self.grid[0] * self.grid[1])

    @property
    def box(self) -> Box:
        height, width = self.grid
        return self.left / width, self.top / height, self.right / width, self.bottom / height

    def on_grid(self, grid: tuple[int, int], *, min_part: float = 0.0) -> Region:
        """Return the region on another grid: the cells of which it covers more than `min_part`, any part by default."""
        if grid == self.grid:
            return self
        cells = np.zeros(self.grid, np.float32)
        cells[self.top : self.bottom, self.left : self.right] = self.cells
        resized = (cv2.resize(cells, grid[::-1], interpolation=cv2.INTER_AREA) > min_part).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(resized)
        window = resized[top : top + height, left : left + width].astype(np.uint8)
        return replace(self, left=left, top=top, cells=window, grid=grid, area=cv2.countNonZero(window))

    def within(self, zone: Cells) -> int:
        """Return how many of its cells lie in a zone, given on the model grid."""
        part = zone[self.top : self.bottom, self.left : self.right]
        return cv2.countNonZero(np.bitwise_and(part, self.cells))


def find_regions(probability: Map, fire: Cells, *, rgb: Frame | None = None, whole: Map | None = None) -> list[Region]:
    """Return the regions of the fire cells (0 and 1) of a probability map, the largest first.

    Args:
        rgb: the frame at model size.
        whole: the map of the whole frame, where `probability` is merged from it and from tiles.

    Example:
        >>> probability = segmenter(frame)
        >>> find_regions(probability, (probability >= segmenter.threshold_u8).astype(np.uint8))
    """
    if not fire.any():
        return []
    joined = cv2.dilate(fire, JOIN)
    left, top, columns, rows = cv2.boundingRect(joined)
    part = np.s_[top : top + rows, left : left + columns]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined[part], connectivity=8)
    regions = []
    for label, (x, y, width, height, _) in enumerate(stats[1:].tolist(), 1):
        is_own = labels[y : y + height, x : x + width] == label
        x, y = left + x, top + y
        cells = fire[y : y + height, x : x + width] & is_own
        area = cv2.countNonZero(cells)
        if area >= MIN_CELLS:
            regions.append(Region(x, y, cells, fire.shape[:2], area, 0.0))
    largest = sorted(regions, key=lambda region: -region.area)[:MAX_REGIONS]
    return [_measured(region, probability, fire, rgb, whole) for region in largest]


def _measured(region: Region, probability: Map, fire: Cells, rgb: Frame | None, whole: Map | None) -> Region:
    """Return a region with its probability and colour, and its box without the margin of joining."""
    cells = region.cells
    window = np.s_[region.top : region.bottom, region.left : region.right]
    reddest, (red, green, blue) = 0.0, (0.0, 0.0, 0.0)
    if rgb is not None:
        redness = cv2.subtract(rgb[window][..., 0], rgb[window][..., 2], dtype=cv2.CV_16S)
        background = min(cv2.mean(redness, 1 - fire[window])[0], 0.0)
        reddest = cv2.minMaxLoc(redness, mask=cells)[1] - background
        red, green, blue, _ = cv2.mean(rgb[window], cells)
    needs_tile = whole is not None and cv2.mean(whole[window], cells)[0] < VISIBLE * probability[window].max()
    x, y, columns, rows = cv2.boundingRect(cells)
    return Region(
        region.left + x,
        region.top + y,
        np.ascontiguousarray(cells[y : y + rows, x : x + columns]),
        region.grid,
        region.area,
        cv2.mean(probability[window], cells)[0] / 256,
        reddest,
        needs_tile,
        (red, green, blue),
    )
