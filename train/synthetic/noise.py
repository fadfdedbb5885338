"""Smooth random fields: still ones for surfaces and clouds, drifting ones for flames and smoke.

Value noise, that is random numbers on a lattice with smooth interpolation between, summed over octaves of half the
size and half the weight. Every field is a pure function of its generator or lattice.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

LATTICE_CELLS = 64  # a drifting field repeats after so many cells, which takes flames half a minute


def texture(
    rng: np.random.Generator, height: int, width: int, cell_px: float, *, octaves: int = 4, stretch: float = 1.0
) -> Field:
    """A still field of 0..1, H x W, with features of about `cell_px`, `stretch` times as wide as high."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for _ in range(octaves):
        rows = max(2, round(height / cell_px)) + 1
        columns = max(2, round(width / (cell_px * stretch))) + 1
        grid = rng.random((rows, columns), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight /= 2
        cell_px /= 2
        if cell_px < 1:
            break
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def lattice(rng: np.random.Generator) -> Field:
    """The random numbers below a drifting field."""
    return rng.random((LATTICE_CELLS, LATTICE_CELLS), dtype=np.float32)


def drifting(cells: Field, x: npt.NDArray[Any], y: npt.NDArray[Any], *, octaves: int = 3) -> Field:
    """The field of 0..1 at points given in cells. Add a growing number to `y` and the pattern rises."""
    total = np.zeros(np.broadcast(x, y).shape, np.float32)
    weight, whole = 1.0, 0.0
    for octave in range(octaves):
        total += weight * _interpolated(cells, x * 2**octave + 17.3 * octave, y * 2**octave + 31.7 * octave)
        whole += weight
        weight /= 2
    return total / whole


def smoothstep(low: float, high: float, values: npt.NDArray[Any]) -> Field:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _interpolated(cells: Field, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Field:
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    # Flat int32 indices: two-dimensional int64 ones take five times as long, and painting is mostly this.
    flat = cells.ravel()
    left, top = column.astype(np.int32) % LATTICE_CELLS, row.astype(np.int32) % LATTICE_CELLS * LATTICE_CELLS
    right, below = (left + 1) % LATTICE_CELLS, (top + LATTICE_CELLS) % flat.size
    upper, lower = flat[top + left], flat[below + left]
    upper += (flat[top + right] - upper) * fx
    lower += (flat[below + right] - lower) * fx
    blended: Field = upper + (lower - upper) * fy
    return blended
