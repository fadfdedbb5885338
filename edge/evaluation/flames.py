"""Flames on black, to be laid as light over other scenes: from a recording, or painted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.camera.pattern import HEIGHT, WIDTH, PatternCamera, add_flame
from edge.errors import UserError
from edge.evaluation.replay import Frames, Thinning, read_frames
from edge.files import printable
from edge.flames import resized
from edge.images import Frame

BRIGHT = 96
"""A pixel belongs to the flame if its brightest channel reaches this."""
OFTEN = 0.1
"""The flame's region is where pixels are bright in this share of the frames: sparks and smoke do not count."""
DARK = 40
"""A pixel is dark if its brightest channel is below this."""
MIN_DARK_SHARE = 0.1
"""Least share of the frame that is dark in nine of ten frames: 0.21 in a close-up at night, 0.07 in a classroom."""
MAX_S = 10.0  # of a recording of flames
MAX_FPS = 20.0
PAINTED_FRAMES = 80
MAX_HEIGHT_PX = 160  # flames are laid at no more than this height


class Flame:
    """Moving flames on black, trimmed to their bright region; played forwards and backwards.

    Args:
        frames: returns the flames, from their beginning each time. Raises ValueError if they are not on black.
    """

    def __init__(self, frames: Callable[[], Frames]) -> None:
        rows, columns = bright_region(frames())
        trimmed = [(t_s, shrink_to_height(rgb[rows, columns], MAX_HEIGHT_PX)) for t_s, rgb in frames()]
        self._images = [rgb for _, rgb in trimmed]
        self._step_s = trimmed[-1][0] / max(len(trimmed) - 1, 1) or 1.0

    def at(self, t_s: float) -> Frame:
        """Return the image at a time from 0 on, always of the same size."""
        return self._images[bounce(int(t_s / self._step_s), len(self._images))]


@cache
def read_flame(path: Path | None) -> Flame:
    """Return the flames of a recording on black, or painted ones. Raises `UserError`."""
    if path is None:
        return Flame(painted_flames)
    try:
        return Flame(partial(_beginning, path))
    except ValueError as error:
        raise UserError(f"{printable(path)} {error}", "expected a recording of flames on black") from None


@cache
def painted_flames() -> list[tuple[float, Frame]]:
    """Return the flames of the test pattern without its room."""
    pattern, black = PatternCamera(fps=MAX_FPS), np.zeros((HEIGHT, WIDTH, 3), np.float32)
    times_s = [number / MAX_FPS for number in range(PAINTED_FRAMES)]
    return [(t_s, add_flame(black, pattern.flame(t_s))) for t_s in times_s]


def _beginning(path: Path) -> Frames:
    thinning = Thinning(MAX_FPS)
    for t_s, rgb in read_frames(path):
        if t_s > MAX_S:
            return
        if thinning.selects(t_s):
            yield t_s, rgb


def bright_region(frames: Frames) -> tuple[slice, slice]:
    """Return the rows and columns that are bright in some share of the frames. Raises ValueError without any."""
    total, bright, dark = 0, np.zeros((1, 1), np.uint32), np.zeros((1, 1), np.uint32)
    for _, rgb in frames:
        level = rgb.max(axis=2)
        bright, dark = (level >= BRIGHT) + bright, (level < DARK) + dark
        total += 1
    often: npt.NDArray[np.bool_] = bright >= max(1.0, OFTEN * total)
    if not often.any():
        raise ValueError("shows no flames")
    if (dark >= (1 - OFTEN) * total).mean() < MIN_DARK_SHARE:
        raise ValueError("has no black background")
    rows, columns = (np.flatnonzero(often.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def bounce(number: int, count: int) -> int:
    """Return the index of a step on the way forwards and backwards through `count` items, without a jump."""
    number %= max(1, 2 * count - 2)
    return min(number, 2 * count - 2 - number) if count > 1 else 0


def shrink_to_height(image: Frame, max_height: int) -> Frame:
    """Return an image at no more than this height."""
    return resized(image, max_height) if image.shape[0] > max_height else image.copy()
