"""A test pattern: synthetic flames on a schedule, to try everything without a camera and without a fire.

The flames rise and flicker, so that the model detects them and the alarm is raised. Frames are deterministic.
"""

from __future__ import annotations

from itertools import count

import cv2
import numpy as np
import numpy.typing as npt

from edge.camera.base import CameraFrame
from edge.images import Frame

HEIGHT, WIDTH = 240, 320
PERIOD_S = 30.0
FLAMES_FROM_S, FLAMES_TO_S = 5.0, 15.0  # in each period
GAMMA = 2.2
GLOW_SHRINK = 8  # the glow is blurred, so that computing it at an eighth of the size looks the same
NOISE_ROWS = 512
RISE_PX_PER_S = (170.0, 210.0, 260.0)  # large eddies rise more slowly
GRAIN_ROWS_PER_S = 70.0
EDDY_PX = (64, 24, 10)
MAX_INTENSITY = 1.2

Field = npt.NDArray[np.float32]


class PatternCamera:
    live = False
    name = "test-pattern"

    def __init__(self, *, fps: float) -> None:
        self._fps = fps
        self._room = _room()
        self._light = np.power(self._room.astype(np.float32) / 255, GAMMA)
        rng = np.random.default_rng(7)
        self._eddies = [_noise(rng, NOISE_ROWS, WIDTH, cell) for cell in EDDY_PX]
        self._grain = rng.integers(0, 4, self._room.shape, np.uint8)

    def open(self) -> None:
        self._numbers = count()

    def read(self) -> CameraFrame:
        t_s = next(self._numbers) / self._fps
        return CameraFrame(self.frame(t_s), t_s=t_s)

    def close(self) -> None:
        pass

    def frame(self, t_s: float) -> Frame:
        """Return the frame at a time."""
        has_flames = FLAMES_FROM_S <= t_s % PERIOD_S < FLAMES_TO_S
        if has_flames:
            return add_flame(self._light, self.flame(t_s))
        # Noise as of a sensor: a picture without any would be that of a frozen camera.
        return self._room + np.roll(self._grain, int(t_s * GRAIN_ROWS_PER_S), axis=0)

    def flame(self, t_s: float) -> Field:
        """Return the flame's intensity: 0 outside, about 1 in its core."""
        large, middle, small = (
            np.roll(eddies, -int(t_s * rise), axis=0)[:HEIGHT]
            for eddies, rise in zip(self._eddies, RISE_PX_PER_S, strict=True)
        )
        x = np.arange(WIDTH, dtype=np.float32)[None, :]
        y = np.arange(HEIGHT, dtype=np.float32)[:, None]
        above = (0.82 * HEIGHT - y) / (0.62 * HEIGHT)  # 0 at the base, 1 at the usual tip
        sway = (middle - 0.5) * 1.8 * np.clip(above + 0.1, 0, 1)
        across = (x - 0.6 * WIDTH) / (0.17 * WIDTH) + sway
        lick = 0.5 * large + 0.3 * middle + 0.2 * small
        body = 1.15 * np.sqrt(np.clip(1 - across * across, 0, 1))
        body -= above * (0.75 + 0.9 * (1 - lick)) + 0.7 * (0.5 - lick)
        intensity: Field = np.where(above >= 0, np.clip(1.5 * body, 0, MAX_INTENSITY), 0).astype(np.float32)
        return intensity


def emitted_light(intensity: Field) -> Field:
    """Return the linear light of a flame, RGB. Saturation turns orange to yellow and near white."""
    channels = [2.4 * intensity**1.1, 1.05 * intensity**1.9, 0.3 * intensity**3.5]
    return cv2.merge(channels).astype(np.float32, copy=False)


def add_flame(backdrop: Field, intensity: Field) -> Frame:
    """Add flames and their glow to linear light."""
    emitted = emitted_light(intensity)
    soft = cv2.resize(emitted, (WIDTH // GLOW_SHRINK, HEIGHT // GLOW_SHRINK), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(np.minimum(soft, 2), (0, 0), HEIGHT / 9 / GLOW_SHRINK)
    glow = 0.35 * cv2.resize(soft, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    soot = np.clip(3 * intensity, 0, 0.85)[..., None]
    light = backdrop * (1 - soot) + emitted + glow * (0.15 + 0.5 * backdrop)
    return as_shown(light)


def as_shown(light: Field) -> Frame:
    """Return linear light as a sensor shows it: it saturates at 1."""
    shown: Field = np.power(np.clip(light, 0, 1), np.float32(1 / GAMMA)) * 255
    return np.rint(shown).astype(np.uint8)


def _room() -> Frame:
    """Return the backdrop: a grey wall with a window, a dark floor."""
    shade = 1 - 0.35 * np.linspace(0, 1, HEIGHT)[:, None, None]
    wall = np.array([96, 92, 84]) * shade * np.ones((HEIGHT, WIDTH, 1))
    wall += 18 * (_noise(np.random.default_rng(1), HEIGHT, WIDTH, 40)[..., None] - 0.5)
    wall[int(0.78 * HEIGHT) :] = (62, 54, 46)
    cv2.rectangle(wall, (20, 40), (90, 110), (120, 135, 150), -1)
    return wall.astype(np.uint8)


def _noise(rng: np.random.Generator, rows: int, columns: int, cell: int) -> Field:
    """Return smooth noise of about 0..1."""
    coarse = rng.random((rows // cell + 3, columns // cell + 3)).astype(np.float32)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.float32)
