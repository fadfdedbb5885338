"""The views of a frame: the whole of it, and overlapping tiles in its own resolution, where small fires are visible.

A 720p frame squashed to 224 px loses a flame of 5 % of its height. `ViewPlanner` in `edge.detection.view_planner`
chooses the views of each frame within a budget of passes, `tile_input` cuts them, `merge` joins their maps:

    model_size = segmenter.height, segmenter.width
    planner = ViewPlanner(settings.tiles, model_size, max_fps=10)

    views = planner.plan(frame.rgb.shape, frame.t_s, candidates)  # boxes of tracks, unconfirmed first
    started_s = clock()
    inputs = (model_rgb if view == WHOLE else tile_input(frame.rgb, view, model_size) for view in views)
    maps = ((view, segmenter(rgb)) for view, rgb in zip(views, inputs, strict=True))
    probability, fine = merge(model_size, maps)
    planner.add_cost((clock() - started_s) / len(views))
    mask = probability >= segmenter.threshold_u8
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.config_schema import field
from edge.images import Frame, Map, Mask

OVERLAP = 0.2
"""Overlap of neighbouring tiles as a share of a tile's side: a flame of up to this size is whole in at least one tile.
Larger ones are cut by tiles, but have over 7 % of the frame's side at 3x, and are visible in the whole frame."""
MAX_ZOOM = 3
MIN_PIXELS = {2: 0.38, MAX_ZOOM: 1.0}
"""Least pixels of a tile by zoom, as a multiple of the model's. Tiles with fewer than the model's are enlarged: no new
detail, but twice that size is what finds the grass fire and the brazier in recordings of 258 and 320 px."""
MAX_LINEAR_SCALE = 4.0  # pixels per cell: linear interpolation to twice the model's size skips no pixel


class Infrared(StrEnum):
    """What to do while frames have no colour."""

    WATCH = "watch"
    PAUSE = "pause"


@dataclass(frozen=True)
class DetectionSettings:
    """How the frame is searched: the table [detection]."""

    tiles: str = field(
        "auto",
        "Tiles in a row and in a column that are searched beside the whole frame, for small and distant fires. 1 for "
        "the whole frame alone; auto for as many as the camera's resolution is good for. Time that max_fps leaves "
        "decides how many are searched per frame.",
        choices=["auto", "1", "2", "3"],
    )
    infrared: str = field(
        Infrared.WATCH.value,
        "While frames have no colour, as under infrared light: watch, or pause and detect only coloured flames.",
        choices=list(Infrared),
    )


class View(NamedTuple):
    """A rectangle of the frame, in fractions of it; also a `Box`."""

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of a frame of this size."""
        rows = slice(round(self.top * height), round(self.bottom * height))
        return rows, slice(round(self.left * width), round(self.right * width))


WHOLE = View(0.0, 0.0, 1.0, 1.0)


def tile_side(zoom: int) -> float:
    """Return the side of a tile as a fraction of the frame's: 0.556 at 2x, 0.385 at 3x."""
    return 1 / (zoom - OVERLAP * (zoom - 1))


@lru_cache
def tiles_of(zoom: int) -> tuple[View, ...]:
    """Return zoom x zoom tiles, row by row. Neighbours overlap by `OVERLAP`, and all together cover the frame.

    Example:
        >>> [round(tile.left, 3) for tile in tiles_of(2)]
        [0.0, 0.444, 0.0, 0.444]
    """
    side = tile_side(zoom)
    starts = [(1 - side) * index / max(zoom - 1, 1) for index in range(zoom)]
    spans = [(start, start + side) for start in starts[:-1]] + [(starts[-1], 1.0)]
    return tuple(View(left, top, right, bottom) for top, bottom in spans for left, right in spans)


def useful_zoom(frame_size: tuple[int, int], model_size: tuple[int, int]) -> int:
    """Return the largest zoom, up to `MAX_ZOOM`, whose tiles have enough pixels. Sizes are (height, width).

    Example:
        >>> useful_zoom((480, 640), (224, 224)), useful_zoom((720, 1280), (224, 224))
        (2, 3)
    """
    pixels = math.prod(frame_size) / math.prod(model_size)
    return max((zoom for zoom, least in MIN_PIXELS.items() if tile_side(zoom) ** 2 * pixels >= least), default=1)


def crop(rgb: Frame, view: View) -> Frame:
    """Return the part of a frame in a view, without copying it."""
    return rgb[view.pixels(*rgb.shape[:2])]


def tile_input(rgb: Frame, view: View, model_size: tuple[int, int]) -> Frame:
    """Return a tile as input for `edge.model.preprocess.to_model_input`.

    Exact averaging at 1 to 2 pixels per cell takes 1.5 ms, a tenth of a pass. Such tiles are enlarged to twice the
    model's size, which is halved at almost no cost; the result differs by less than 3 grey levels.
    """
    tile = crop(rgb, view)
    scales = [side / model_side for side, model_side in zip(tile.shape, model_size, strict=False)]
    if 1 < min(scales) < 2 and max(scales) <= MAX_LINEAR_SCALE:
        height, width = (2 * side for side in model_size)
        return cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return tile


def merge(shape: tuple[int, int], seen: Iterable[tuple[View, Map]]) -> tuple[Map, Mask]:
    """Return one probability map of `shape`, and which of its cells were seen in a tile.

    A cell takes the largest probability of all pixels whose centre lies in it, of every view: a fire region smaller
    than a cell stays. `seen` yields the views, none larger than the frame, with their maps, none smaller than `shape`.

    Example:
        >>> merged, fine = merge((224, 224), [(WHOLE, segmenter(rgb))])
    """
    merged, fine = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for view, map_ in seen:
        if view == WHOLE and map_.shape == shape:
            cv2.max(merged, map_, dst=merged)
            continue
        rows = _Span.of(view.top, view.bottom, map_.shape[0], shape[0])
        columns = _Span.of(view.left, view.right, map_.shape[1], shape[1])
        by_row = _largest(map_, rows.pixels)  # rows are contiguous: gathering them is cheap, columns are not
        cells = _largest(np.ascontiguousarray(by_row.T), columns.pixels).T
        part = merged[rows.cells, columns.cells]
        np.maximum(part, cells, out=part)
        fine[rows.centres, columns.centres] = True
    return merged, fine


class _Span(NamedTuple):
    """Where a view lies on the grid, on one axis."""

    cells: slice
    """Cells with a pixel's centre."""
    centres: slice
    """Cells whose centre lies in the view."""
    pixels: tuple[npt.NDArray[np.intp], ...]
    """For each of `cells`, its first pixel, its second, …; cells with fewer repeat their last."""

    @staticmethod
    @lru_cache
    def of(start: float, end: float, pixels: int, cells: int) -> _Span:
        centres = (start + (np.arange(pixels) + 0.5) / pixels * (end - start)) * cells
        cell_of = np.clip(np.floor(centres).astype(np.intp), 0, cells - 1)
        _, first, counts = np.unique(cell_of, return_index=True, return_counts=True)
        indices = tuple(first + np.minimum(nth, counts - 1) for nth in range(int(counts.max())))
        inside = slice(math.ceil(start * cells - 0.5), math.ceil(end * cells - 0.5))
        return _Span(slice(int(cell_of[0]), int(cell_of[-1]) + 1), inside, indices)


def _largest(map_: Map, rows: Sequence[npt.NDArray[np.intp]]) -> Map:
    """Return the largest of several rows, for each cell."""
    largest = map_.take(rows[0], axis=0)
    for others in rows[1:]:
        cv2.max(largest, map_.take(others, axis=0), dst=largest)
    return largest
