"""Tracks: regions matched over time. A track is an immutable value; `follow` returns the next ones.

A track knows the frames in which it could have been seen and those in which it was, and from these its area, its
flicker and whether it stays in place. `edge.detection.alarm` decides which tracks are fire.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge.detection.regions import Region

MAX_TRACKS = 48
MAX_SIGHTINGS = 64
FORGET_S = 1.5
"""A track that is not confirmed ends after this long unseen: flames disappear for a second, in smoke for longer."""
FORGET_UNSEARCHED_S = 10.0
"""A track that only tiles show waits this long for its tile: on a slow machine each is searched every seven seconds."""
MIN_MISSES = 3
"""A track is missed at least this often before it ends: at one frame a second, two sightings may be 2 s apart."""
MARGIN_CELLS = 2.0
MARGIN = 0.25
"""How far a region may lie from its track or its place: cells of the model grid, plus a fraction of the longer side."""
STEADY, STEADY_WEIGHT = 0.03, 0.25
"""A track with less flicker in its last two measurements, such as a lamp, is measured a quarter as often."""
MIN_MEASURE_INTERVAL_S = 0.15
"""Least time between two measurements of a track: every second frame at 10 fps, since a score covers 0.2 s."""
OVERLAP_LAG_S = (0.4, 1.1)
"""A region is compared with where its track was this long ago, to see whether it stays in place."""


@dataclass(frozen=True)
class Sighting:
    """One frame in which a track could have been seen."""

    t_s: float
    region: Region | None
    """None if it was missed."""
    flicker: float | None = None
    """Change of its image within the last moment, 0..1; None if not measured."""
    overlap: float | None = None
    """Cells that it shares with its region of about a second ago, as a fraction of the smaller one; None without."""


@dataclass(frozen=True)
class Track:
    """One region over time."""

    id: int
    sightings: tuple[Sighting, ...]
    """The last `MAX_SIGHTINGS` frames in which it could have been seen, oldest first."""
    began_s: float
    seen_s: float
    """When it was seen last."""
    region: Region
    """Its region then."""
    measured_s: float
    """When its flicker was measured last, or could not be; at first, when it began."""
    confirmed: bool = False
    place: Region | None = None
    """Its region when it was last judged to be fire; None if it is not confirmed."""
    at_place_s: float = -math.inf
    """When it was last seen near its place."""
    zones: Mapping[str, float] = field(default_factory=dict)
    """When it last lay in each zone whose alarm it raises, by the zone's name."""

    def urgency(self, t_s: float) -> float:
        """Return how much it needs a measurement: it waits long, is probable, and not known as steady."""
        flickers = [sighting.flicker for sighting in self.sightings if sighting.flicker is not None][-2:]
        is_steady = len(flickers) > 1 and max(flickers) < STEADY
        return (t_s - self.measured_s) * self.region.probability**4 * (STEADY_WEIGHT if is_steady else 1.0)

    def missed(self) -> int:
        """Return in how many frames it was missed since it was seen last."""
        return next((n for n, sighting in enumerate(reversed(self.sightings)) if sighting.region), len(self.sightings))

    def recent(
        self, count: int, seconds: float, t_s: float, since_s: float, max_gap_s: float = math.inf
    ) -> tuple[Sighting, ...]:
        """Return the last sightings, missed ones included: `count`, or more if they fit into the last `seconds`.

        None before `since_s`, nor before a gap of more than `max_gap_s`.
        """
        in_time = sum(sighting.t_s >= t_s - seconds for sighting in self.sightings)
        last = [sighting for sighting in self.sightings[-max(count, in_time) :] if sighting.t_s >= since_s]
        gaps = (n for n in range(len(last) - 1, 0, -1) if last[n].t_s - last[n - 1].t_s > max_gap_s)
        return tuple(last[next(gaps, 0) :])


def follow(
    tracks: Sequence[Track],
    t_s: float,
    regions: Sequence[Region],
    *,
    next_id: Callable[[], int],
    measure: Callable[[Track, Region], float | None] = lambda *_: None,
    max_measured: int = MAX_TRACKS,
    is_visible: Callable[[Track], bool] = lambda _: True,
    keep_s: float = FORGET_S,
) -> tuple[Track, ...]:
    """Return the tracks after one more frame: continued, missed and new ones, without those that ended.

    Args:
        t_s: time of the frame, not before that of the last call.
        next_id: makes the id of a new track.
        measure: returns the flicker of a track, given its region in this frame; None if it cannot be measured.
        max_measured: measure at most this many of the tracks that are not confirmed, or no longer near their place, the
            most urgent first.
        is_visible: returns whether a track without a region in this frame could have been seen in it.
        keep_s: a confirmed track ends after this long unseen.
    """
    matches = match(tracks, regions)
    waiting = [
        track
        for index, track in enumerate(tracks)
        if index in matches and track.at_place_s < track.seen_s and t_s - track.measured_s >= MIN_MEASURE_INTERVAL_S
    ]
    due = {track.id for track in sorted(waiting, key=lambda track: -track.urgency(t_s))[:max_measured]}
    continued = []
    for index, track in enumerate(tracks):
        if index in matches:
            region = regions[matches[index]]
            flicker = measure(track, region) if track.id in due else None
            sighting = Sighting(t_s, region, flicker, _overlap(track, t_s, region))
            measured_s = t_s if track.id in due else track.measured_s
            continued.append(_with(track, sighting, seen_s=t_s, region=region, measured_s=measured_s))
        elif _goes_on(track, t_s, keep_s, is_searched=is_visible(track)):
            continued.append(_with(track, Sighting(t_s, None)) if is_visible(track) else track)
    taken = set(matches.values())
    new = [
        Track(next_id(), (Sighting(t_s, region),), t_s, t_s, region, measured_s=t_s)
        for index, region in enumerate(regions)
        if index not in taken
    ]
    # Should there be too many, confirmed and older tracks stay.
    kept = sorted((*continued, *new), key=lambda track: (not track.confirmed, track.id))
    confirmed = [track for track in kept if track.confirmed][:MAX_TRACKS]
    return (*confirmed, *[track for track in kept if not track.confirmed][:MAX_TRACKS])


def match(tracks: Sequence[Track], regions: Sequence[Region]) -> dict[int, int]:
    """Return the index of the region of each track that has one, by the track's index. No region is used twice.

    Pairs whose boxes overlap most come first, the track's with its margin; then the most similar area; then the order
    of the tracks.
    """
    if not tracks or not regions:
        return {}
    old, new = _boxes([track.region for track in tracks])[:, None], _boxes(regions)[None]
    margin = MARGIN_CELLS + MARGIN * (old[..., 2:4] - old[..., :2]).max(-1, keepdims=True)
    low, high = old[..., :2] - margin, old[..., 2:4] + margin
    sides = np.minimum(high, new[..., 2:4]) - np.maximum(low, new[..., :2])
    smaller = np.minimum((high - low).prod(-1), (new[..., 2:4] - new[..., :2]).prod(-1))
    similarity = np.minimum(old[..., 4], new[..., 4]) / np.maximum(old[..., 4], new[..., 4])
    overlap = np.where((sides > 0).all(-1), sides.prod(-1) / smaller, 0.0)
    score = np.where(overlap > 0, overlap + 0.1 * similarity, 0.0)
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for pair in np.argsort(-score, axis=None, kind="stable"):  # equal scores keep the order of the tracks
        index, number = divmod(int(pair), len(regions))
        if score[index, number] <= 0:
            break
        if index not in matches and number not in taken:
            matches[index] = number
            taken.add(number)
    return matches


def _boxes(regions: Sequence[Region]) -> npt.NDArray[np.float64]:
    """Return left, top, right, bottom and area of each region."""
    rows = [(region.left, region.top, region.right, region.bottom, region.area) for region in regions]
    return np.array(rows, np.float64)


def is_near(place: Region, region: Region) -> bool:
    """Return whether the boxes of a place and a region overlap, the place's with its margin."""
    margin = MARGIN_CELLS + MARGIN * max(place.cells.shape)
    across = min(place.right, region.right) - max(place.left, region.left)
    down = min(place.bottom, region.bottom) - max(place.top, region.top)
    return min(across, down) > -margin


def area_variation(sightings: Sequence[Sighting]) -> float:
    """Return the standard deviation of the area of those seen, as a fraction of its mean; 0 for fewer than two."""
    areas = [sighting.region.area for sighting in sightings if sighting.region]
    mean = statistics.fmean(areas) if areas else 0.0
    return math.sqrt(statistics.fmean((area - mean) ** 2 for area in areas)) / mean if areas else 0.0


def median_of(values: Sequence[float | None], *, at_least: int = 1) -> float | None:
    """Return the median of those that were measured, of two the lower one; None for fewer than `at_least`."""
    measured = [value for value in values if value is not None]
    return statistics.median_low(measured) if len(measured) >= at_least else None


def shared_cells(one: Region, other: Region) -> int:
    """Return how many cells two regions have in common."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    right, bottom = min(one.right, other.right), min(one.bottom, other.bottom)
    if left >= right or top >= bottom:
        return 0
    windows = [
        region.cells[top - region.top : bottom - region.top, left - region.left : right - region.left]
        for region in (one, other)
    ]
    return cv2.countNonZero(np.bitwise_and(*windows))


def _goes_on(track: Track, t_s: float, keep_s: float, *, is_searched: bool) -> bool:
    unseen_s = t_s - track.seen_s
    if track.confirmed:
        return unseen_s <= keep_s
    if not is_searched:
        return unseen_s <= FORGET_UNSEARCHED_S
    return unseen_s <= FORGET_S or track.missed() + 1 < MIN_MISSES


def _with(track: Track, sighting: Sighting, **changes: object) -> Track:
    return replace(track, sightings=(*track.sightings, sighting)[-MAX_SIGHTINGS:], **changes)  # type: ignore[arg-type]


def _overlap(track: Track, t_s: float, region: Region) -> float | None:
    shortest_s, longest_s = OVERLAP_LAG_S
    for sighting in track.sightings:  # the oldest first
        if sighting.region and shortest_s <= t_s - sighting.t_s <= longest_s:
            return shared_cells(sighting.region, region) / min(sighting.region.area, region.area)
    return None
