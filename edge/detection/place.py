"""Places: where a fire or false alarm was, and how it looked. Values and pure functions.

A place has a spot for each region with its own look, such as a lamp and its reflection. A spot is compared with a
region, never widened: cells that the region did not have are not part of it.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from edge.detection.regions import Region
from edge.detection.tracks import Track, shared_cells
from edge.messages import Polygon

MIN_WITHIN = 0.8
"""A region is at a spot if at least this part of its cells lies in it."""
MAX_GROWTH = 2.0
"""A region larger than the spot's largest by more than this factor is something else."""
MIN_OFTEN = 0.1
"""A cell belongs to a spot if it was part of the region in at least this part of the frames. A spot that was seen in
fewer of the fire's frames does not belong to its place."""
MIN_SHARED = 0.5
"""Spots are the same if they share this part of the larger one. A region with this part in a spot is added to it."""
MAX_SPOTS = 8
MAX_FRAMES = 10_000  # counted frames; older ones then count half
COLOUR_TOLERANCE, SPREAD_WEIGHT, MAX_TOLERANCE = 20.0, 2.0, 45.0
"""How far the mean colour may differ, in grey levels: a fixed part, and more if it varied before."""
LOOK_S, MAX_LOOKS = 1.0, 5
"""Several sightings of a track are compared, since one that flickers changes its outline with every frame."""
MAX_SIDE = 4096  # of a saved grid, in cells
MAX_POLYGONS = 8
CONTOUR_SCALE = 3  # contours pass through the middle of pixels: of a third of a cell, they follow its edges

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Spot:
    """Where one region of a fire was seen, and how it looked."""

    region: Region
    """Its cells, with the mean colour over time."""
    share: float
    """Its largest area in one frame, as a fraction of the frame."""
    spread: Rgb
    """Standard deviation of its mean colour over time, in grey levels."""

    def on_grid(self, grid: tuple[int, int]) -> Spot:
        """Return the spot on another grid. Cells that lie in it only in part are left out."""
        return replace(self, region=self.region.on_grid(grid, min_part=0.999))

    def looks_like(self, region: Region) -> bool:
        """Return whether a region has about the same mean colour."""
        return all(
            abs(was - now) <= min(COLOUR_TOLERANCE + SPREAD_WEIGHT * spread, MAX_TOLERANCE)
            for was, now, spread in zip(self.region.colour, region.colour, self.spread, strict=True)
        )

    def has(self, region: Region) -> bool:
        """Return whether a region on the same grid lies in the spot, is not much larger, and looks the same."""
        if region.grid != self.region.grid or region.share > MAX_GROWTH * self.share:
            return False
        if not (self.region.left < region.right and region.left < self.region.right and self.looks_like(region)):
            return False
        return shared_cells(region, self.region) >= MIN_WITHIN * region.area

    def is_again(self, other: Spot) -> bool:
        """Return whether another spot is the same: they share half of their cells, and look alike."""
        there = other.on_grid(self.region.grid).region
        shared = shared_cells(there, self.region)
        return shared >= MIN_SHARED * max(there.area, self.region.area) and self.looks_like(other.region)

    def joined(self, earlier: Spot) -> Spot:
        """Return this spot merged with an earlier one: a region may look like either."""
        there = earlier.on_grid(self.region.grid).region
        left, top = min(self.region.left, there.left), min(self.region.top, there.top)
        right, bottom = max(self.region.right, there.right), max(self.region.bottom, there.bottom)
        cells = np.zeros((bottom - top, right - left), np.uint8)
        for each in (self.region, there):
            cells[each.top - top : each.bottom - top, each.left - left : each.right - left] |= each.cells
        now, was = np.array(self.region.colour), np.array(there.colour)
        region = replace(
            self.region, left=left, top=top, cells=cells, area=cv2.countNonZero(cells), colour=_rgb((now + was) / 2)
        )
        spread = np.maximum(self.spread, earlier.spread) + np.abs(now - was) / 2
        return replace(self, region=region, share=max(self.share, earlier.share), spread=_rgb(spread))

    def polygons(self) -> tuple[Polygon, ...]:
        """Return the outlines of its largest parts, as fractions of the frame, for the page."""
        fine = self.region.cells.repeat(CONTOUR_SCALE, axis=0).repeat(CONTOUR_SCALE, axis=1)
        contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        height, width = self.region.grid
        largest = sorted(contours, key=cv2.contourArea, reverse=True)[:MAX_POLYGONS]
        return tuple(
            tuple(
                (
                    round((self.region.left + (x + 0.5) / CONTOUR_SCALE) / width, 4),
                    round((self.region.top + (y + 0.5) / CONTOUR_SCALE) / height, 4),
                )
                for x, y in cv2.approxPolyDP(contour, 0.8 * CONTOUR_SCALE, True)[:, 0].tolist()
            )
            for contour in largest
        )

    def as_json(self) -> dict[str, Any]:
        region = self.region
        return {
            "grid": region.grid,
            "corner": (region.left, region.top),
            "size": region.cells.shape,
            "cells": base64.b64encode(np.packbits(region.cells).tobytes()).decode(),
            "colour": [round(level, 1) for level in region.colour],
            "spread": [round(level, 1) for level in self.spread],
            "share": self.share,
        }


@dataclass(frozen=True)
class Place:
    """Where a fire was seen: one spot or several, the most frequent first."""

    id: str
    """That of the fire."""
    zone: str
    spots: tuple[Spot, ...]

    @property
    def share(self) -> float:
        """The largest area of its spots in one frame, as a fraction of the frame."""
        return max(spot.share for spot in self.spots)

    def on_grid(self, grid: tuple[int, int]) -> Place:
        """Return the place on another grid. Cells that lie in it only in part are left out."""
        return replace(self, spots=tuple(spot.on_grid(grid) for spot in self.spots))

    def is_of(self, regions: Sequence[Region]) -> bool:
        """Return whether most of a track's `last_regions` lie in the place."""
        misses = 0
        for region in regions:
            misses += not any(spot.has(region) for spot in self.spots)
            if 2 * misses >= len(regions):  # most tracks and places have nothing to do with each other
                return False
        return bool(regions)

    def is_again(self, other: Place) -> bool:
        """Return whether another place shares a spot with this one."""
        return any(spot.is_again(there) for spot in self.spots for there in other.spots)

    def joined(self, earlier: Place) -> Place:
        """Return this place merged with an earlier one."""
        spots = list(self.spots)
        for there in earlier.spots:
            same = next((index for index, spot in enumerate(spots) if spot.is_again(there)), None)
            if same is None:
                spots.append(there)
            else:
                spots[same] = spots[same].joined(there)
        return replace(self, spots=tuple(spots[:MAX_SPOTS]))

    def polygons(self) -> tuple[Polygon, ...]:
        """Return its outlines, as fractions of the frame, for the page."""
        return tuple(polygon for spot in self.spots for polygon in spot.polygons())

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "zone": self.zone, "spots": [spot.as_json() for spot in self.spots]}


def last_regions(track: Track) -> list[Region]:
    """Return the last regions of a track, which are compared with places, the newest first."""
    seen = (sighting for sighting in reversed(track.sightings) if sighting.region)
    last = itertools.islice(seen, MAX_LOOKS)
    return [each.region for each in last if each.region and each.t_s >= track.seen_s - LOOK_S]


def place_from_json(saved: Mapping[str, Any]) -> Place:
    """Return a saved place. Raises `KeyError`, `TypeError` or `ValueError` if it is damaged."""
    spots = tuple(_spot_from_json(spot) for spot in saved["spots"][:MAX_SPOTS])
    if not spots:
        raise ValueError("a place has no spot")
    return Place(str(saved["id"]), str(saved["zone"]), spots)


def _spot_from_json(saved: Mapping[str, Any]) -> Spot:
    grid, corner, size = (
        (int(first), int(second)) for first, second in (saved["grid"], saved["corner"], saved["size"])
    )
    (left, top), (height, width) = corner, size
    if not (max(grid) <= MAX_SIDE and min(*size) > 0 and min(corner) >= 0):
        raise ValueError("the size of a place is not possible")
    if top + height > grid[0] or left + width > grid[1]:
        raise ValueError("a place is not within its grid")
    bits = np.frombuffer(base64.b64decode(saved["cells"], validate=True), np.uint8)
    cells = np.unpackbits(bits, count=height * width).reshape(height, width)
    if bits.size != (height * width + 7) // 8 or not cells.any():
        raise ValueError("the cells of a place do not fit its size")
    if not 0 < (share := float(saved["share"])) <= 1:
        raise ValueError("the area of a place is not a fraction")
    region = Region(left, top, cells, grid, cv2.countNonZero(cells), 0.0, colour=_rgb(saved["colour"]))
    return Spot(region, share, _rgb(saved["spread"]))


def _rgb(levels: Any) -> Rgb:
    red, green, blue = (float(level) for level in levels)
    return red, green, blue


class PlaceRecorder:
    """Collects the place of one fire while it lasts."""

    def __init__(self, fire_id: str, zone: str) -> None:
        self.fire_id, self.zone = fire_id, zone
        self._spots: list[SpotRecorder] = []
        self._frames = 0

    def add(self, regions: Sequence[Region]) -> None:
        """Add the regions of the fire in one frame, at least one. Another grid begins again."""
        if self._spots and self._spots[0].grid != regions[0].grid:
            self._spots, self._frames = [], 0
        self._frames = min(self._frames + 1, MAX_FRAMES)
        for region in regions:
            spot = next((spot for spot in self._spots if spot.fits(region)), None)
            if spot is None:
                if len(self._spots) >= MAX_SPOTS:
                    continue  # too many for one place: the next such region raises an alarm
                spot = SpotRecorder(region.grid)
                self._spots.append(spot)
            spot.add(region)

    def place(self) -> Place | None:
        """Return the place so far; None without any."""
        frequent = [spot for spot in self._spots if spot.regions >= MIN_OFTEN * self._frames]
        frequent.sort(key=lambda spot: -spot.regions)
        spots = tuple(recorded for spot in frequent if (recorded := spot.spot()))
        return Place(self.fire_id, self.zone, spots) if spots else None


class SpotRecorder:
    """Collects the cells and the look of one region over time."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.regions = 0.0
        """How many were added; the oldest of more than `MAX_FRAMES` count half."""
        self._counts = np.zeros(grid, np.uint16)
        self._colour, self._squares = np.zeros(3), np.zeros(3)
        self._share = 0.0

    def fits(self, region: Region) -> bool:
        """Return whether a region belongs to it: at least half lies in it, and it looks about the same."""
        mean = self._colour / self.regions
        if max(abs(was - now) for was, now in zip(mean, region.colour, strict=True)) > MAX_TOLERANCE:
            return False
        here = self._counts[region.top : region.bottom, region.left : region.right] > 0
        return cv2.countNonZero(region.cells * here) >= MIN_SHARED * region.area

    def add(self, region: Region) -> None:
        """Add a region of one frame."""
        if self.regions >= MAX_FRAMES:
            self.regions, self._colour, self._squares = self.regions / 2, self._colour / 2, self._squares / 2
            self._counts //= 2
        self.regions += 1
        self._counts[region.top : region.bottom, region.left : region.right] += region.cells
        colour = np.array(region.colour)
        self._colour += colour
        self._squares += colour**2
        self._share = max(self._share, region.share)

    def spot(self) -> Spot | None:
        """Return the spot so far; None without a frequent cell."""
        cells = (self._counts >= max(1.0, MIN_OFTEN * self.regions)).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(cells)
        if not width:
            return None
        window = np.ascontiguousarray(cells[top : top + height, left : left + width])
        mean = self._colour / self.regions
        spread = np.sqrt(np.maximum(self._squares / self.regions - mean**2, 0.0))
        region = Region(left, top, window, self.grid, cv2.countNonZero(window), 0.0, colour=_rgb(mean))
        return Spot(region, self._share, _rgb(spread))
