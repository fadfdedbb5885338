"""Value noise: static textures for surfaces and clouds, drifting fields for flames and smoke.

Random numbers on a lattice, interpolated smoothly and summed over octaves of half the size and half the weight.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

LATTICE_CELLS = 64  # period of a drifting field: half a minute for flames


def texture(
    rng: np.random.Generator, height: int, width: int, cell_px: float, *, octaves: int = 4, stretch: float = 1.0
) -> Field:
    """Return a static field in 0..1, H x W, with features of about `cell_px`, `stretch` times as wide as high."""
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
    """Return the random numbers of a drifting field."""
    return rng.random((LATTICE_CELLS, LATTICE_CELLS), dtype=np.float32)


def drifting(cells: Field, x: npt.NDArray[Any], y: npt.NDArray[Any], *, octaves: int = 3) -> Field:
    """Return the field in 0..1 at the points `x`, `y` in cells. An increasing offset of `y` makes the pattern rise."""
    total = np.zeros(np.broadcast(x, y).shape, np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        total += weight * _interpolated(cells, x * 2**octave + 17.3 * octave, y * 2**octave + 31.7 * octave)
        weights += weight
        weight /= 2
    return total / weights


def smoothstep(low: float, high: float, values: npt.NDArray[Any]) -> Field:
    """Return 0 up to `low`, 1 from `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _interpolated(cells: Field, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Field:
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    # Flat int32 indices are five times as fast as two-dimensional int64 ones, and rendering is mostly this.
    flat = cells.ravel()
    left, top = column.astype(np.int32) % LATTICE_CELLS, row.astype(np.int32) % LATTICE_CELLS * LATTICE_CELLS
    right, below = (left + 1) % LATTICE_CELLS, (top + LATTICE_CELLS) % flat.size
    upper, lower = flat[top + left], flat[below + left]
    upper += (flat[top + right] - upper) * fx
    lower += (flat[below + right] - lower) * fx
    blended: Field = upper + (lower - upper) * fy
    return blended
