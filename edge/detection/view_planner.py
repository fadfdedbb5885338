"""Choose the views of each frame: as many tiles as there is time for, candidates first, every tile in a bounded time.

The plan depends on frames, candidates and the measured cost of a pass. With `passes_per_frame` it depends on neither
the clock nor the load of the machine: a replay is deterministic. See `edge.detection.views` for how to use it.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from edge.detection.views import WHOLE, View, tiles_of, useful_zoom
from edge.messages import Box, FineView

TIME_SHARE = 0.5
"""Share of the time between two frames that all passes may take: the rest is for all else, and keeps a Pi cool."""
FPS_WITHOUT_LIMIT = 10.0
"""Frame rate whose time is budgeted if there is no limit: alarms need no more."""
MAX_FRAMES_PER_TILE = 4
"""Even a machine without time for a second pass gives one tile to every fourth frame: a fifth of its rate at most."""
MIN_TILE_PX = 8
"""A frame that has less than this on a side for each tile is searched as a whole, whatever is configured."""
COSTS = 15
"""Passes and frames whose median counts: a single slow one changes nothing."""
MIN_COSTS = 3  # the first pass of an interpreter is slow


@dataclass(eq=False)
class ViewPlanner:
    """Chooses the views of each frame: the whole frame, then tiles around candidates, then the others in turn.

    At least every second tile is one in turn, the one that was not seen for longest. So the whole frame is covered in
    a bounded time, however many candidates there are. The other tiles go to candidates: new ones first, then in turn.
    """

    tiles: str
    """As in `DetectionSettings`."""
    model_size: tuple[int, int]
    """Height and width of the model's input."""
    _: KW_ONLY
    max_fps: float
    """Frames per second at most; 0 for no limit. Passes take at most `TIME_SHARE` of the time that it leaves."""
    passes_per_frame: float | None = None
    """Passes in each frame with the whole frame; 1.25 for a tile in every fourth. None: what there is time for."""

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
            candidates: boxes to search again, the most urgent first.
        """
        if self._last_t_s is not None and t_s > self._last_t_s:
            self._intervals_s.append(t_s - self._last_t_s)
        self._last_t_s = t_s
        height, width = frame_shape[:2]
        zoom = useful_zoom((height, width), self.model_size) if self.tiles == "auto" else int(self.tiles)
        zoom = max(1, min(zoom, min(height, width) // MIN_TILE_PX))
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
            passes = passes_within(self._costs_s, self.max_fps)
        if passes >= 2:
            return min(int(passes) - 1, len(self._seen)), 1
        return (min(1, len(self._seen)), math.ceil(1 / (passes - 1) - 1e-9)) if passes > 1 else (0, 1)

    def _choose(self, count: int, candidates: Sequence[Box]) -> list[View]:
        """Return the next tiles: those of candidates first."""
        candidate_tiles = dict.fromkeys(tile_around(box, tiles_of(self._zoom)) for box in candidates)
        self._candidates = {tile: self._candidates.get(tile, 0) for tile in candidate_tiles}
        waiting = sorted(candidate_tiles, key=self._candidates.__getitem__)  # stable: urgent ones first among equals
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
    """Return the tile that holds most of a box: of equals the one with the nearest centre, of those the first."""

    def fit(tile: View) -> tuple[float, float]:
        width = min(tile.right, box[2]) - max(tile.left, box[0])
        height = min(tile.bottom, box[3]) - max(tile.top, box[1])
        far_x, far_y = tile.left + tile.right - box[0] - box[2], tile.top + tile.bottom - box[1] - box[3]
        return max(width, 0) * max(height, 0), -math.hypot(far_x, far_y)

    return max(tiles, key=fit)


def passes_within(costs_s: Sequence[float], max_fps: float) -> float:
    """Return how many passes fit into the time of a frame, the whole frame included; 1 while their cost is unknown.

    Heat does not lower it: `edge.host.throttle` lowers the frame rate, and a fire that only tiles show must still be
    seen several times in `memory_s`.
    """
    if len(costs_s) < MIN_COSTS:
        return 1.0
    budget_s = TIME_SHARE / (max_fps or FPS_WITHOUT_LIMIT)
    return max(budget_s / max(statistics.median(costs_s), 1e-6), 1 + 1 / MAX_FRAMES_PER_TILE)
