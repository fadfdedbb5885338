"""Measure what a camera sees: detail, contrast and layout of a frame, against a baseline that adapts slowly.

Detail is measured per tile in two bands: fine, which a blur removes, and medium, which only fog or a cover removes.
Sensor noise does not repeat from one sample to the next, so it is subtracted: noise is not detail.

A move is recognised by the pattern: detail, normalised by local contrast. The mean of seconds is compared with that of
minutes; flames, water, people and noise hardly show in either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame, Map

Field = npt.NDArray[np.float32]
Tiles = npt.NDArray[np.bool_]

SIZE_PX = 224  # frames are compared at this size, that of the shipped models
TILES = 7  # in a row and in a column, of 32 px
CELLS = 28
COARSE = 14
MEDIUM_PX = 56
FINE_SIGMA_PX, MEDIUM_SIGMA_PX = 1.0, 2.0  # high-pass filters at `SIZE_PX` and `MEDIUM_PX`
NOISE_PERCENTILE = 20  # of the tiles, by what does not repeat: the stillest tiles show noise alone
FLOOR = 0.05
MEMORY = 240  # samples that the baseline remembers: two minutes
MIN_TEXTURE = 2.0
"""Least medium energy of a textured tile, in squared grey levels. Recordings: median tile 1.7 (asphalt) to 980."""
MIN_STEADY_TILES = 8  # to tell what is in its place
MIN_STEADINESS = 0.6
"""Least mean correlation of a tile with its background for the tile to tell whether the camera moved. In the median
recording 45 of 49 tiles reach it, even with flames, water or traffic."""
PATTERN_SIGMA_PX = 3.0  # local contrast is measured around a pixel, at `MEDIUM_PX`
PATTERN_LEVELS = 1.0
"""Local contrast, in grey levels, that counts half: noise and the blocks of an encoder stay weak."""
PATTERN_MEMORY_S = 5.0
"""Time constant of the recent pattern. A passing car leaves no trace; most moves are clear after 7 s."""
CLEAR_PATTERN = 0.02
"""Least energy of a tile's recent pattern, of about 0.5 for lasting detail: noise has less after averaging."""
CLIPPED_LEVEL, CLIPPED_SHARE = 250.0, 0.3  # a tile or view with more such cells is overexposed
UNMOVED_PX = 2  # of 56, 4 % of the side: smaller shifts are vibration, and are not reported
TAPER = np.sqrt(np.outer(np.hanning(MEDIUM_PX + 2), np.hanning(MEDIUM_PX + 2)))[1:-1, 1:-1]
"""Fades to the border, whose edges would correlate in place."""


@dataclass
class FrameMeasures:
    """The measures of one frame."""

    grey: Map
    fine: Field
    medium: Field
    pattern: Field
    """The medium band, divided by the local contrast."""
    cells: Field
    """Grey levels, averaged over cells of 8 px, so that noise hardly counts."""
    coarse: Field
    fine_energy: Field
    """Per tile, in squared grey levels, without noise; likewise `medium_energy`."""
    medium_energy: Field
    is_full_size: bool
    """Whether the frame had enough pixels to judge its focus without a baseline."""

    def to_learn(self) -> FrameMeasures:
        """Return what `Baseline.learn` takes, without the images at full size, which are most of the bytes."""
        return replace(self, grey=np.empty((0, 0), np.uint8), fine=np.empty((0, 0), np.float32))


def measure(rgb: Frame, before: FrameMeasures | None) -> FrameMeasures:
    """Return the measures of a frame; `before` is the previous sample, for the noise."""
    is_full_size = min(rgb.shape[:2]) >= SIZE_PX
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    if grey.shape != (SIZE_PX, SIZE_PX):
        grey = cv2.resize(grey, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    levels = grey.astype(np.float32)
    fine = _high_pass(levels, FINE_SIGMA_PX)
    shrunk = _shrink(levels, MEDIUM_PX)
    medium = _high_pass(shrunk, MEDIUM_SIGMA_PX)
    cells = _shrink(shrunk, CELLS)
    return FrameMeasures(
        grey, fine, medium, _pattern(medium), cells, _shrink(cells, COARSE),
        _energy(fine, before.fine if before else None), _energy(medium, before.medium if before else None),
        is_full_size,
    )  # fmt: skip


def correlation(first: Field, second: Field) -> float:
    """Return how alike two layouts are, -1..1, whatever their brightness and contrast."""
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum() + 1e-6))


class Baseline:
    """What the camera usually sees: running means, equal weights at first, then over about `MEMORY` samples."""

    def __init__(self) -> None:
        self.samples = 0
        self.level = self.contrast = self.likeness = 0.0
        """Mean and standard deviation of the grey levels; correlation of a frame's layout with `coarse`."""
        self.fine_energy = self.medium_energy = self._steadiness = np.zeros((TILES, TILES), np.float32)
        self.medium = np.zeros((MEDIUM_PX, MEDIUM_PX), np.float32)
        self.pattern = np.zeros((MEDIUM_PX, MEDIUM_PX), np.float32)
        self.coarse = np.zeros((COARSE, COARSE), np.float32)

    @property
    def textured(self) -> Tiles:
        """Tiles with enough detail to compare."""
        textured: Tiles = self.medium_energy > MIN_TEXTURE
        return textured

    @property
    def steady(self) -> Tiles:
        """Tiles whose content stays in place."""
        steady: Tiles = self._steadiness > MIN_STEADINESS
        return steady

    def learn(self, view: FrameMeasures, recent: Field) -> None:
        """Add a frame; `recent` is the mean pattern at that time."""
        self.samples += 1
        weight = 1 / min(self.samples, MEMORY)
        if self.samples > 1:
            weight_of_pair = 1 / min(self.samples - 1, MEMORY)
            self._steadiness = self._steadiness + weight_of_pair * (self.tile_likeness(recent) - self._steadiness)
            self.likeness += weight_of_pair * (correlation(view.coarse, self.coarse) - self.likeness)
        self.level += weight * (float(view.coarse.mean()) - self.level)
        self.contrast = _geometric(self.contrast, view.coarse.std(), weight)
        self.fine_energy = _geometric(self.fine_energy, view.fine_energy, weight)
        self.medium_energy = _geometric(self.medium_energy, view.medium_energy, weight)
        self.medium = self.medium + weight * (view.medium - self.medium)
        self.pattern = self.pattern + weight * (view.pattern - self.pattern)
        self.coarse = self.coarse + weight * (view.coarse - self.coarse)

    def detail_in_place(self, view: FrameMeasures) -> float | None:
        """Return how much of the background's detail the median steady tile shows, relative to its light.

        1 in any light, 0 if none is in its place. None without enough steady tiles. Noise does not add to it.
        """
        measured = self.steady & (_tiles(self.medium**2) > MIN_TEXTURE)
        if measured.sum() < MIN_STEADY_TILES:
            return None
        slope = _tiles(view.medium * self.medium)[measured] / _tiles(self.medium**2)[measured]
        light = _tiles(view.coarse)[measured] / np.maximum(_tiles(self.coarse)[measured], 1.0)
        contrast = float(view.coarse.std()) / max(self.contrast, 0.1)
        return float(np.median(slope / np.maximum(np.minimum(light, contrast), 0.02)))

    def tile_likeness(self, recent: Field) -> Field:
        """Return the correlation of each tile's recent pattern with the background, -1..1."""
        likeness: Field = _tiles(recent * self.pattern) / np.sqrt(_tiles(recent**2) * _tiles(self.pattern**2) + 1e-3)
        return likeness

    def background_likeness(self, view: FrameMeasures, recent: Field) -> float | None:
        """Return the mean correlation of the steady tiles with the background; None with too few that show anything."""
        is_clipped = _tiles((view.cells >= CLIPPED_LEVEL).astype(np.float32)) > CLIPPED_SHARE
        measured = self.steady & ~is_clipped & (_tiles(recent**2) > CLEAR_PATTERN)
        return float(self.tile_likeness(recent)[measured].mean()) if measured.sum() >= MIN_STEADY_TILES else None

    def displacement(self, recent: Field) -> float:
        """Return how much better the pattern fits the background displaced than in place, as a ratio of correlations.

        Amplitudes are flattened by the square root: a horizon, which also fits displaced along itself, counts little.
        """
        first, second = np.fft.rfft2(recent * TAPER), np.fft.rfft2(self.pattern * TAPER)
        spectrum = first * np.conj(second) / (np.sqrt(np.abs(first) * np.abs(second)) + 1e-6)
        fit = np.roll(np.fft.irfft2(spectrum, s=recent.shape), (UNMOVED_PX, UNMOVED_PX), (0, 1))
        side = 2 * UNMOVED_PX + 1
        in_place = float(fit[:side, :side].max())
        fit[:side, :side] = 0
        return float(fit.max()) / max(in_place, 1e-6)


class RecentPattern:
    """The mean pattern of the last seconds."""

    def __init__(self) -> None:
        self._mean: Field | None = None
        self._t_s = 0.0

    def update(self, t_s: float, pattern: Field) -> Field:
        weight = 1 - math.exp((self._t_s - t_s) / PATTERN_MEMORY_S)
        self._mean = pattern if self._mean is None else self._mean + weight * (pattern - self._mean)
        self._t_s = t_s
        return self._mean


def _geometric(mean: Any, value: Any, weight: float) -> Any:
    """Return the geometric running mean: a car that passes once leaves no trace in it."""
    return np.exp((1 - weight) * np.log(mean + FLOOR) + weight * np.log(value + FLOOR)) - FLOOR


def _high_pass(levels: Field, sigma: float) -> Field:
    high: Field = levels - cv2.GaussianBlur(levels, (0, 0), sigma).astype(np.float32, copy=False)
    return high


def _pattern(medium: Field) -> Field:
    energy = cv2.GaussianBlur(medium**2, (0, 0), PATTERN_SIGMA_PX).astype(np.float32, copy=False)
    contrast: Field = np.sqrt(energy)
    pattern: Field = medium / (contrast + PATTERN_LEVELS)
    return pattern


def _shrink(levels: Field, side: int) -> Field:
    shrunk: Field = cv2.resize(levels, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return shrunk


def _tiles(values: Field) -> Field:
    return _shrink(values, TILES)


def _energy(band: Field, before: Field | None) -> Field:
    """Return the energy of each tile without noise: as much as the stillest tiles lose from one sample to the next."""
    energy = _tiles(band**2)
    if before is None:
        return energy
    noise = np.float32(np.percentile(np.maximum(energy - _tiles(band * before), 0), NOISE_PERCENTILE))
    without_noise: Field = np.maximum(energy - noise, 0)
    return without_noise
