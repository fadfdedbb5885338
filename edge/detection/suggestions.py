"""Suggested ignored areas: parts of the frame that show possible fire again and again, and never a fire.

Each candidate track is counted once, by the hour and its box on a coarse grid. Nothing is ignored unless a person
accepts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import cv2
import numpy as np

from edge.detection.memory import Storage, read_saved
from edge.detection.regions import Region
from edge.detection.tracks import Track
from edge.detection.zones import Cells
from edge.errors import UserError, one_line
from edge.run_status import SuggestedArea

GRID = 28
MIN_SEEN_S = 3.0
"""A track counts once it was followed for this long: shorter ones are noise."""
MIN_CANDIDATES, MIN_HOURS = 20, 3
"""An area is suggested with this many candidates, in this many different hours."""
MAX_SHARE = 0.25
"""Larger areas are not suggested: candidates all over the frame, such as rain, say nothing about a place."""
KEEP_HOURS = 7 * 24
MAX_SAVED = 1_000_000  # hours since 1970 or candidates; a saved number above it is damaged
MAX_COUNTS = 300  # of an hour and a box; less than 10 kB in the file
MAX_DISMISSED = 50
MIN_SAME = 0.5  # overlap of two boxes, or of an area and a dismissed one, that makes them the same
SAVE_INTERVAL_S = 600.0  # an SD card wears out
COUNTS, DISMISSED = "candidates", "dismissed_areas"


@dataclass(frozen=True)
class CellBox:
    """A box on the coarse grid, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def shared(self, other: CellBox) -> int:
        """Return how many cells two boxes have in common."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def is_like(self, other: CellBox) -> bool:
        """Return whether two boxes share half of the cells that either has."""
        shared = self.shared(other)
        return shared >= MIN_SAME * (self.area + other.area - shared)

    def as_json(self) -> list[int]:
        return [self.left, self.top, self.right, self.bottom]


@dataclass(frozen=True)
class CandidateCount:
    """How many candidate tracks there were in one hour at one place."""

    hour: int
    """Since 1970, UTC."""
    box: CellBox
    tracks: int

    def as_json(self) -> list[int]:
        return [self.hour, *self.box.as_json(), self.tracks]


class Suggestions:
    """Counts the candidates of a run, and suggests areas.

    Args:
        saved: keeps the counts for the next run; they are written every ten minutes.
        now: the wall clock.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        saved: Storage | None = None,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._saved: Storage = {} if saved is None else saved
        self._now, self._clock = now, clock
        self._counts = read_saved(self._saved, COUNTS, _count_from_json)[-MAX_COUNTS:]
        self._dismissed = read_saved(self._saved, DISMISSED, _box_from_json)[-MAX_DISMISSED:]
        self._done: set[int] = set()  # tracks that were counted
        self._is_new = False  # whether a count is not saved yet
        self._saved_s = clock()
        self._suggested: tuple[tuple[CellBox, SuggestedArea], ...] | None = None
        self._monitored: Cells | None = None

    def observe(self, tracks: Sequence[Track], t_s: float, quiet: frozenset[int]) -> None:
        """Count the candidates of a result. Where a fire is confirmed, earlier candidates no longer count.

        Args:
            quiet: confirmed tracks that raise no alarm.
        """
        for track in tracks:
            if track.id in self._done and not track.confirmed:
                continue
            if track.confirmed and track.id not in quiet:
                self._forget(cell_box(track.region))
            elif not track.confirmed and track.seen_s == t_s and t_s - track.began_s >= MIN_SEEN_S:
                self._count(cell_box(track.region))
                self._done.add(track.id)
        self._done &= {track.id for track in tracks}
        if self._is_new and self._clock() - self._saved_s >= SAVE_INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Save the counts, such as at the end of a run."""
        self._is_new, self._saved_s = False, self._clock()
        self._saved[COUNTS] = [count.as_json() for count in self._counts]

    def areas(self, monitored: Cells) -> tuple[SuggestedArea, ...]:
        """Return the suggested areas, the one with most candidates first.

        Args:
            monitored: cells of the model grid outside the ignored areas.
        """
        if self._suggested is None or self._monitored is not monitored:
            coarse = cv2.resize(monitored.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
            found = find_areas(self._counts, (coarse >= MIN_SAME).astype(np.uint8))
            self._monitored = monitored
            self._suggested = tuple(
                (box, area)
                for box, area in found
                if not any(box.is_like(other) or box.shared(other) == box.area for other in self._dismissed)
            )
        return tuple(area for _, area in self._suggested)

    def dismiss(self, area_id: str) -> None:
        """Do not suggest an area again. Raises `UserError` if it is not suggested."""
        box = next((box for box, area in self._suggested or () if area.id == area_id), None)
        if box is None:
            raise UserError(f"the area {one_line(area_id)!r} is no longer suggested", "reload the page")
        self._dismissed = [*self._dismissed, box][-MAX_DISMISSED:]
        self._saved[DISMISSED] = [each.as_json() for each in self._dismissed]
        self._suggested = None

    def _count(self, box: CellBox) -> None:
        hour = int(self._now().timestamp() // 3600)
        counts = [count for count in self._counts if abs(hour - count.hour) < KEEP_HOURS]
        same = next((index for index, each in enumerate(counts) if each.hour == hour and each.box.is_like(box)), None)
        if same is None:
            counts = [*counts, CandidateCount(hour, box, 1)][-MAX_COUNTS:]
        else:
            counts[same] = replace(counts[same], tracks=counts[same].tracks + 1)
        self._counts, self._suggested, self._is_new = counts, None, True

    def _forget(self, box: CellBox) -> None:
        counts = [count for count in self._counts if not count.box.shared(box)]
        if len(counts) < len(self._counts):
            self._counts, self._suggested, self._is_new = counts, None, True


def find_areas(counts: Sequence[CandidateCount], monitored: Cells) -> list[tuple[CellBox, SuggestedArea]]:
    """Return the areas with frequent candidates and their bounding boxes, the one with most candidates first.

    Args:
        monitored: cells of the coarse grid, 0 or 1.
    """
    tracks, hours = (np.zeros((GRID, GRID), np.int32) for _ in range(2))
    by_hour: dict[int, Cells] = {}
    for count in counts:
        window = np.s_[count.box.top : count.box.bottom, count.box.left : count.box.right]
        tracks[window] += count.tracks
        by_hour.setdefault(count.hour, np.zeros((GRID, GRID), np.uint8))[window] = 1
    for cells in by_hour.values():
        hours += cells
    frequent = ((tracks >= MIN_CANDIDATES) & (hours >= MIN_HOURS)).astype(np.uint8) & monitored
    _, labels, stats, _ = cv2.connectedComponentsWithStats(frequent, connectivity=8)
    found = []
    for label, (left, top, width, height, cells_count) in enumerate(stats[1:].tolist(), 1):
        if cells_count > MAX_SHARE * GRID**2:
            continue
        box = CellBox(left, top, left + width, top + height)
        own = labels == label
        here = [each for each in counts if own[each.box.top : each.box.bottom, each.box.left : each.box.right].any()]
        span_hours = max(each.hour for each in here) - min(each.hour for each in here) + 1
        rows, columns = np.nonzero(own)
        corners = [
            (column + right, row + below)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            for right in (0, 1)
            for below in (0, 1)
        ]
        hull = cv2.convexHull(np.array(corners, np.int32))
        if cv2.contourArea(hull) > MAX_SHARE * GRID**2:  # of a bent area, such as a frame around the picture
            continue
        polygon = tuple((round(x / GRID, 3), round(y / GRID, 3)) for x, y in hull[:, 0].tolist())
        area_id = "-".join(map(str, box.as_json()))
        candidates = sum(each.tracks for each in here)
        found.append((box, SuggestedArea(area_id, polygon, candidates, -(-span_hours // 24))))
    return sorted(found, key=lambda each: -each[1].candidates)


def cell_box(region: Region) -> CellBox:
    """Return the box of a region on the coarse grid, every cell that it touches."""
    left, top, right, bottom = (edge * GRID for edge in region.box)
    return CellBox(int(left), int(top), int(np.ceil(right - 1e-9)), int(np.ceil(bottom - 1e-9)))


def _box_from_json(saved: Any) -> CellBox:
    left, top, right, bottom = (int(edge) for edge in saved)
    if not (0 <= left < right <= GRID and 0 <= top < bottom <= GRID):
        raise ValueError("a box is not within the grid")
    return CellBox(left, top, right, bottom)


def _count_from_json(saved: Any) -> CandidateCount:
    hour, *box, tracks = (int(value) for value in saved)
    if not (0 <= hour < MAX_SAVED and 0 < tracks < MAX_SAVED):
        raise ValueError("a count is not possible")
    return CandidateCount(hour, _box_from_json(box), tracks)
