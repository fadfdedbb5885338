"""The views of a frame: the whole of it, and overlapping tiles in its own resolution, where small fires are visible.

A 720p frame squashed to 224 px loses a flame of 5 % of its height. `ViewPlanner` chooses the views of each frame within
a budget of passes, `crop` cuts them, `merge` brings their maps to one grid. Use, for each frame:

    planner = ViewPlanner(DetectionSettings(), (segmenter.height, segmenter.width), max_fps=10)

    views = planner.plan(frame.rgb.shape, frame.t_s, candidates)  # boxes of tracks, unconfirmed first
    started_s = clock()
    maps = ((view, segmenter(model_rgb if view == WHOLE else crop(frame.rgb, view))) for view in views)
    probability, fine = merge((segmenter.height, segmenter.width), maps)
    planner.add_cost((clock() - started_s) / len(views))
    mask = probability >= segmenter.threshold_u8

`merge` uses each map before it asks for the next: the segmenter may overwrite its map. `planner.fine_view` is the
status to report; `planner.slowdown` is that of `edge.host.throttle.Throttle`. For a deterministic replay set
`passes_per_frame`: then neither the clock nor the load of the machine changes the plan.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.config_schema import field
from edge.images import Frame, Map, Mask
from edge.messages import Box, FineView

OVERLAP = 0.2
"""Overlap of neighbouring tiles as a share of a tile's side: a flame of up to this size is whole in at least one tile.
Larger ones are cut by tiles, but have over 7 % of the frame's side at 3x, and are visible in the whole frame."""
MAX_ZOOM = 3
TIME_SHARE = 0.5
"""Share of the time between two frames that all passes may take: the rest is for all else, and keeps a Pi cool."""
FPS_WITHOUT_LIMIT = 10.0
"""Frame rate whose time is budgeted if there is no limit: alarms need no more."""
MAX_FRAMES_PER_TILE = 4
"""Even a machine without time for a second pass gives one tile to every fourth frame: a fifth of its rate at most."""
COSTS = 15
"""Passes and frames whose median counts: a single slow one changes nothing."""
MIN_COSTS = 3  # the first pass of an interpreter is slow


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
    """Return the largest zoom, up to `MAX_ZOOM`, whose tiles have at least as many pixels as the model's input.

    A tile with fewer would be enlarged: a pass without new detail. Sizes are (height, width).

    Example:
        >>> useful_zoom((480, 640), (224, 224)), useful_zoom((720, 1280), (224, 224))
        (2, 3)
    """
    frame_px, model_px = math.prod(frame_size), math.prod(model_size)
    return max((zoom for zoom in range(2, MAX_ZOOM + 1) if tile_side(zoom) ** 2 * frame_px >= model_px), default=1)


def crop(rgb: Frame, view: View) -> Frame:
    """Return the part of a frame in a view, without copying it."""
    return rgb[view.pixels(*rgb.shape[:2])]


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


@dataclass(eq=False)
class ViewPlanner:
    """Chooses the views of each frame: the whole frame, then tiles around candidates, then the others in turn.

    Every second tile at least is one in turn, the one that was not seen for longest: so the whole frame is covered in a
    bounded time, whatever burns. The other tiles go to candidates: new ones first, then each in turn.
    """

    settings: DetectionSettings
    model_size: tuple[int, int]
    """Height and width of the model's input."""
    _: KW_ONLY
    max_fps: float
    """Frames per second at most; 0 for no limit. Passes take at most `TIME_SHARE` of the time that it leaves."""
    passes_per_frame: float | None = None
    """Passes in each frame with the whole frame; 1.25 for a tile in every fourth. None: what there is time for."""
    slowdown: int = 1
    """Divides the budget of time, as while the machine is hot."""

    def __post_init__(self) -> None:
        self._costs_s: deque[float] = deque(maxlen=COSTS)
        self._intervals_s: deque[float] = deque(maxlen=COSTS)
        self._last_t_s: float | None = None
        self._zoom = 1
        self._has_candidates = False
        self._waited = 0
        self._set_zoom(1)

    def plan(self, frame_shape: Sequence[int], t_s: float, candidates: Sequence[Box] = ()) -> tuple[View, ...]:
        """Return the views of a frame, in the order in which to search them. `WHOLE` is the first.

        Args:
            frame_shape: height and width of the frame first.
            t_s: source time of the frame.
            candidates: boxes to look at again, the most urgent first.
        """
        if self._last_t_s is not None and t_s > self._last_t_s:
            self._intervals_s.append(t_s - self._last_t_s)
        self._last_t_s = t_s
        tiles = self.settings.tiles
        height, width = frame_shape[:2]
        zoom = useful_zoom((height, width), self.model_size) if tiles == "auto" else int(tiles)
        if zoom != self._zoom:
            self._set_zoom(zoom)
        self._has_candidates = bool(candidates)
        count, frames = self._tile_rate()
        self._waited += 1
        if not count or self._waited < frames:
            return (WHOLE,)
        self._waited = 0
        return (WHOLE, *self._choose(count, candidates))

    def add_cost(self, pass_s: float) -> None:
        """Note how long one pass took, with its crop and its part of the merge."""
        self._costs_s.append(pass_s)

    @property
    def fine_view(self) -> FineView | None:
        """The zoom, and the time in which every tile is seen; None if no tiles are searched."""
        count, frames = self._tile_rate()
        if not count or not self._intervals_s:
            return None
        tiles = len(self._seen) * (2 if self._has_candidates else 1)
        return FineView(self._zoom, math.ceil(tiles / count) * frames * statistics.median(self._intervals_s))

    def _set_zoom(self, zoom: int) -> None:
        self._zoom = zoom
        self._seen = dict.fromkeys(tiles_of(zoom) if zoom > 1 else ())  # least recently seen first
        self._candidates: dict[View, int] = {}  # the tiles of candidates, and when each was searched as such
        self._searches = 0
        self._waited = 0
        self._candidate_is_next = True

    def _tile_rate(self) -> tuple[int, int]:
        """Return how many tiles to search, and in which n-th frame; no tiles if there is no budget for them."""
        passes = self.passes_per_frame
        if passes is None:
            passes = passes_within(self._costs_s, self.max_fps, self.slowdown)
        if passes >= 2:
            return min(int(passes) - 1, len(self._seen)), 1
        return (min(1, len(self._seen)), math.ceil(1 / (passes - 1) - 1e-9)) if passes > 1 else (0, 1)

    def _choose(self, count: int, candidates: Sequence[Box]) -> list[View]:
        """Return the next tiles: those of candidates first."""
        wanted = dict.fromkeys(tile_around(box, tuple(self._seen)) for box in candidates)
        self._candidates = {tile: self._candidates.get(tile, 0) for tile in wanted}
        waiting = sorted(wanted, key=self._candidates.__getitem__)  # stable: urgent ones first among equals
        near: list[View] = []
        others: list[View] = []
        for _ in range(count):
            if self._candidate_is_next and waiting:
                tile = waiting.pop(0)
                near.append(tile)
                self._candidate_is_next = False
            else:
                tile = next(iter(self._seen))  # never one that was just chosen: those are last
                others.append(tile)
                waiting = [other for other in waiting if other != tile]
                self._candidate_is_next = True
            if tile in self._candidates:
                self._searches += 1
                self._candidates[tile] = self._searches
            self._seen[tile] = self._seen.pop(tile)
        return near + others


def tile_around(box: Box, tiles: Sequence[View]) -> View:
    """Return the tile that holds most of a box; of several that hold all of it, the one with the nearest centre."""

    def fit(tile: View) -> tuple[float, float]:
        width = min(tile.right, box[2]) - max(tile.left, box[0])
        height = min(tile.bottom, box[3]) - max(tile.top, box[1])
        far_x, far_y = tile.left + tile.right - box[0] - box[2], tile.top + tile.bottom - box[1] - box[3]
        return max(width, 0) * max(height, 0), -math.hypot(far_x, far_y)

    return max(tiles, key=fit)


def passes_within(costs_s: Sequence[float], max_fps: float, slowdown: int = 1) -> float:
    """Return how many passes fit into the time of a frame, the whole frame included; 1 while their cost is unknown."""
    if len(costs_s) < MIN_COSTS:
        return 1.0
    budget_s = TIME_SHARE / (max_fps or FPS_WITHOUT_LIMIT) / slowdown
    return max(budget_s / max(statistics.median(costs_s), 1e-6), 1 + 1 / (MAX_FRAMES_PER_TILE * slowdown))
