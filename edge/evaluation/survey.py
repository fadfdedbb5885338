"""The smallest flame that raises an alarm in each part of a camera's view: flames laid over its present frames.

The view is divided into cells. A detector processes flames in several cells at once, far enough apart to be separate
tracks, and the smallest size of each cell is found by bisection. 12 x 8 cells and six sizes take about as many runs of
the model as a minute and a half of monitoring at 5 runs per frame.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from queue import SimpleQueue

import numpy as np

from edge.console import OnStep, no_steps
from edge.detection.views import View
from edge.detection.zones import ZoneMap
from edge.evaluation.trials import LaidFlame, Scene, Trials
from edge.messages import Box
from edge.model.segmenter import Segmenter

SIZES = (0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
"""Heights of the flame as fractions of the frame's height."""
COLUMNS, ROWS = 12, 8
GAP, MIN_SPACING = 0.6, 0.3
"""Least gap between two flames of a trial, as a multiple of the largest size, and least distance of their centres, as a
fraction of the frame's height: about twelve fit a frame, and the detector measures the flicker of as many tracks."""
MIN_WATCHED = 0.5
"""A cell is not watched if less than this part of it lies in zones and outside ignored areas."""
PHASE_S = 0.37  # between the flames in two cells, so that they differ
ROUNDING = 1e-9

Place = tuple[int, int]
"""Column and row of a cell."""


class State(StrEnum):
    """The outcome for a cell."""

    ALARMS = "alarms"
    NONE = "none"
    NOT_WATCHED = "not watched"
    BY_ITSELF = "alarms without a flame"


@dataclass(frozen=True)
class Cell:
    """The result of one cell."""

    state: State
    smallest: float | None = None
    """Height of the smallest flame that raises an alarm, as a fraction of the frame's height; None without."""


@dataclass(frozen=True)
class Survey:
    """The results of a view, row by row from its top left."""

    cells: Sequence[Sequence[Cell]]
    sizes: tuple[float, ...]
    passes: int
    """Runs of the model."""

    @property
    def watched(self) -> list[Cell]:
        """The cells that were tried."""
        return [cell for row in self.cells for cell in row if cell.state in (State.ALARMS, State.NONE)]

    @property
    def blind(self) -> int:
        """Number of cells that raise no alarm at any size."""
        return sum(cell.state is State.NONE for cell in self.watched)

    @property
    def median(self) -> float | None:
        """The size that raises an alarm in half of the watched cells; None if no size does."""
        sizes = [math.inf if cell.smallest is None else cell.smallest for cell in self.watched]
        median = statistics.median_high(sizes) if sizes else math.inf
        return None if median == math.inf else median


def survey(
    scene: Scene,
    segmenters: Sequence[Segmenter],
    sizes: Sequence[float] = SIZES,
    grid: tuple[int, int] = (COLUMNS, ROWS),
    *,
    on_step: OnStep = no_steps,
) -> Survey:
    """Return the smallest of the sizes that raises an alarm in each cell. Does not depend on the machine's speed.

    Args:
        segmenters: the same model several times; each is used by one thread.
        sizes: ascending fractions of the frame's height. If a size raises an alarm, all larger ones are assumed to.
        grid: columns and rows.
    """
    trials = [Trials(scene, segmenter) for segmenter in segmenters]
    places = [(column, row) for row in range(grid[1]) for column in range(grid[0])]
    by_itself = trials[0].alarming([])
    states = {place: _state(cell_box(place, grid), trials[0].zones, by_itself) for place in places}
    watched = [place for place in places if states[place] is None]
    on_settled = on_step("laying flames over the view", len(watched))
    free: SimpleQueue[Trials] = SimpleQueue()
    for each in trials:
        free.put(each)
    stopped = threading.Event()

    def search(group: Sequence[Place]) -> dict[Place, float | None]:
        own = free.get()
        try:
            return smallest_sizes(group, grid, sizes, own, stopped, on_settled)
        finally:
            free.put(own)

    smallest: dict[Place, float | None] = {}
    with ThreadPoolExecutor(len(trials)) as pool:
        futures = [pool.submit(search, group) for group in groups(watched, grid, spacing(scene, sizes, grid))]
        try:
            for future in futures:
                smallest |= future.result()
        except BaseException:  # such as Ctrl-C: let the threads end soon
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise

    def cell(place: Place) -> Cell:
        size, state = smallest.get(place), states[place]
        return Cell(state or (State.NONE if size is None else State.ALARMS), size)

    rows = [[cell((column, row)) for column in range(grid[0])] for row in range(grid[1])]
    return Survey(rows, tuple(sizes), sum(each.passes for each in trials))


def smallest_sizes(
    group: Sequence[Place],
    grid: tuple[int, int],
    sizes: Sequence[float],
    trials: Trials,
    stopped: threading.Event,
    on_settled: Callable[[], None],
) -> dict[Place, float | None]:
    """Return the smallest size that raises an alarm in each cell, None without one, by bisection in all at once."""
    bounds = {place: (0, len(sizes)) for place in group}  # the answer is an index from the first to the second
    while not stopped.is_set():
        flames = {
            place: LaidFlame(cell_centre(place, grid), sizes[(low + high) // 2], PHASE_S * (place[0] + place[1]))
            for place, (low, high) in bounds.items()
            if low < high
        }
        if not flames:
            break
        boxes = trials.alarming(list(flames.values()))
        for place, flame in flames.items():
            low, high = bounds[place]
            middle = (low + high) // 2
            bounds[place] = (low, middle) if trials.is_seen(flame, boxes) else (middle + 1, high)
            if bounds[place][0] == bounds[place][1]:
                on_settled()
    return {place: (*sizes, None)[low] for place, (low, _) in bounds.items()}


def groups(places: Sequence[Place], grid: tuple[int, int], steps: tuple[int, int]) -> Iterator[list[Place]]:
    """Yield groups of cells that are `steps` columns or rows apart; each cell is in one group."""
    for row in range(min(steps[1], grid[1])):
        for column in range(min(steps[0], grid[0])):
            group = [place for place in places if (place[0] - column) % steps[0] == (place[1] - row) % steps[1] == 0]
            if group:
                yield group


def spacing(scene: Scene, sizes: Sequence[float], grid: tuple[int, int]) -> tuple[int, int]:
    """Return how many columns or rows lie between the flames of a trial."""
    frame, flame = (image.shape[1] / image.shape[0] for image in (scene.frames[0], scene.flame.at(0)))
    across, down = (max((side + GAP) * max(sizes), MIN_SPACING) for side in (flame, 1.0))
    return math.ceil(across / frame * grid[0] - ROUNDING), math.ceil(down * grid[1] - ROUNDING)


def cell_centre(place: Place, grid: tuple[int, int]) -> tuple[float, float]:
    return (place[0] + 0.5) / grid[0], (place[1] + 0.5) / grid[1]


def cell_box(place: Place, grid: tuple[int, int]) -> Box:
    return place[0] / grid[0], place[1] / grid[1], (place[0] + 1) / grid[0], (place[1] + 1) / grid[1]


def _state(cell: Box, zones: ZoneMap, alarms: Iterable[Box]) -> State | None:
    """Return why a cell is not tried; None if it is."""
    if any(cell[0] < box[2] and box[0] < cell[2] and cell[1] < box[3] and box[1] < cell[3] for box in alarms):
        return State.BY_ITSELF
    watched = np.maximum.reduce(list(zones.cells.values()))
    rows, columns = View(*cell).pixels(*watched.shape)
    return State.NOT_WATCHED if watched[rows, columns].mean() < MIN_WATCHED else None
