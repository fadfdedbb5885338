"""Render flames and smoke over an image in linear light, with the exact fire mask.

Pure functions of the flame and the time; advancing the time makes the flame flicker and rise. A flame adds light, and
the sensor saturates above 1: the core turns near white, then yellow, around it an orange body and a red rim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.synthetic.noise import Field, drifting, lattice, smoothstep

Light = npt.NDArray[np.float32]  # H x W x 3, RGB, linear; the sensor saturates at 1

GAMMA = 2.2
FLAME_THRESHOLD = 0.2  # minimum intensity of a fire pixel: its red is clearly visible
RISE_CELLS_PER_S = 1.9
GLOW_SHRINK = 8  # glow is smooth: blurring at an eighth of the size looks the same


@dataclass(frozen=True)
class Flame:
    """One flame, in pixels of the frame: centre and width of its base, and height."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    seed: int
    heat: float = 1.0
    """0.7 for sooty red-orange, 1.3 for a core near white."""
    lean: float = 0.0
    """Sideways offset of the tip by wind, as a fraction of the height."""


@dataclass(frozen=True)
class Smoke:
    """One plume, in pixels of the frame: it starts at (x, y), widens and thins as it rises."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    seed: int
    shade: float = 0.05
    """Linear light: 0.02 for burning rubber, 0.5 for steam and grass."""
    density: float = 0.9
    lean: float = 0.0


def add_flames(backdrop: Light, flames: Iterable[Flame], t_s: float) -> tuple[Light, npt.NDArray[np.bool_]]:
    """Return the light with flames and their glow added, and the boolean mask H x W of the flames without the glow."""
    height, width = backdrop.shape[:2]
    intensity = np.zeros((height, width), np.float32)
    for flame in flames:
        top, left, patch = _flame_patch(flame, t_s, height, width)
        view = intensity[top : top + patch.shape[0], left : left + patch.shape[1]]
        np.maximum(view, patch, out=view)
    if not intensity.any():
        return backdrop, np.zeros((height, width), np.bool_)
    # Dark red, orange, yellow, near white.
    channels = [2.4 * intensity**1.15, 1.0 * intensity**2.1, 0.28 * intensity**4]
    emitted = np.stack(channels, axis=-1).astype(np.float32)
    soot = 0.85 * smoothstep(0.02, 0.4, intensity)[..., None]  # a flame hides most of its background
    return backdrop * (1 - soot) + emitted + _glow(emitted) * (0.12 + 0.5 * backdrop), intensity >= FLAME_THRESHOLD


def add_smoke(backdrop: Light, smoke: Iterable[Smoke], t_s: float) -> Light:
    """Return the light with smoke in front of it."""
    light = backdrop
    for plume in smoke:
        alpha, shade = _smoke_layer(plume, t_s, *backdrop.shape[:2])
        light = light * (1 - alpha) + shade * alpha
    return light


def _flame_patch(flame: Flame, t_s: float, height: int, width: int) -> tuple[int, int, Field]:
    """Return top, left and intensity of one flame inside the frame: 0 outside, about 1 in the core."""
    reach = 0.75 * flame.width_px + (abs(flame.lean) + 0.25) * flame.height_px
    left, right = _span(flame.x_px - reach, flame.x_px + reach, width)
    top, bottom = _span(flame.y_px - 1.3 * flame.height_px, flame.y_px + 0.12 * flame.height_px, height)
    if left >= right or top >= bottom:
        return 0, 0, np.zeros((0, 0), np.float32)
    # Supersample small flames: their tongues are narrower than a pixel.
    fine = 4 if flame.height_px < 24 else 2 if flame.height_px < 72 else 1
    x = (left + (np.arange((right - left) * fine, dtype=np.float32) + 0.5) / fine)[None, :] - flame.x_px
    y = flame.y_px - (top + (np.arange((bottom - top) * fine, dtype=np.float32) + 0.5) / fine)[:, None]
    shape = _flame_shape(flame, t_s, x.astype(np.float32), y.astype(np.float32))
    return top, left, cv2.resize(shape, (right - left, bottom - top), interpolation=cv2.INTER_AREA).astype(np.float32)


def _flame_shape(flame: Flame, t_s: float, x_px: Field, y_px: Field) -> Field:
    """Return the intensity at points relative to the centre of the base, `y_px` upwards."""
    rng = np.random.default_rng(flame.seed)
    cells = lattice(rng)
    rise = RISE_CELLS_PER_S * t_s + 40 * rng.random()
    half_px = flame.width_px / 2
    eddy_px = min(flame.width_px, flame.height_px) * 0.45
    u, v = x_px / half_px, y_px / flame.height_px
    across, along = x_px / eddy_px, -y_px / (2.2 * eddy_px)  # rising gas stretches eddies

    swirl = drifting(cells, across * 0.8, along + rise * 0.8, octaves=3) - 0.5
    sway = flame.lean * np.maximum(v, 0) * flame.height_px + 2.8 * swirl * (0.15 + np.maximum(v, 0)) * eddy_px
    bent = u - sway / half_px
    tongues = drifting(cells.T, bent * half_px / eddy_px * 1.3 + 0.4 * t_s, rise * 0.8 + 0 * bent, octaves=2)
    shoulder = np.sqrt(np.clip(1 - bent * bent, 0, 1))
    tip = shoulder * (0.5 + 0.95 * smoothstep(0.2, 0.8, tongues))
    lick = drifting(cells, across * 1.9 + 2.2 * swirl, along * 1.6 + rise * 1.6 + swirl, octaves=4)
    thread = 1 - np.abs(2 * drifting(cells.T, across * 2.6 + 3 * swirl, along * 1.7 + rise * 1.8, octaves=3) - 1)

    body = tip - v - (0.05 + 0.95 * np.maximum(v, 0)) * (1 - lick) * 0.75
    root = smoothstep(-0.1, 0.08, v + 0.25 * (lick - 0.5) - 0.1 * bent * bent)
    inner = np.clip(body * 2.4, 0, 1) ** 0.7 * smoothstep(0.0, 0.4, shoulder)
    brightness = 0.3 + 0.75 * smoothstep(0.2, 0.8, lick) + 0.3 * smoothstep(0.45, 0.95, thread)
    intensity: Field = (flame.heat * root * inner * brightness).astype(np.float32)
    return intensity


def _glow(emitted: Light) -> Light:
    """Return the light that lens, haze and surfaces scatter around the flames."""
    height, width = emitted.shape[:2]
    size = (max(1, width // GLOW_SHRINK), max(1, height // GLOW_SHRINK))
    small = cv2.resize(np.minimum(emitted, 2.0), size, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(small, (0, 0), max(0.5, height / 40 / GLOW_SHRINK))
    far = cv2.GaussianBlur(small, (0, 0), max(0.5, height / 7 / GLOW_SHRINK))
    soft = cv2.resize(0.35 * near + 0.9 * far, (width, height), interpolation=cv2.INTER_LINEAR)
    return soft.astype(np.float32)


def _smoke_layer(plume: Smoke, t_s: float, height: int, width: int) -> tuple[Field, Field]:
    """Return opacity and linear light of one plume, H x W x 1 each."""
    shrink = 3  # smoke is smooth too
    rows, columns = -(-height // shrink), -(-width // shrink)
    x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) * shrink - plume.x_px
    y = plume.y_px - (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * shrink
    cells = lattice(np.random.default_rng(plume.seed))
    v = y / plume.height_px
    spread = plume.width_px * (0.35 + 0.9 * np.maximum(v, 0))
    across, along = x / (plume.width_px * 0.5), -y / (plume.width_px * 0.6)
    billow = drifting(cells, across, along + 0.5 * t_s, octaves=5)
    bent = (x - plume.lean * np.maximum(v, 0) * plume.height_px) / spread + 1.6 * (billow - 0.5)
    opacity = (1 - smoothstep(0.35, 1.0, np.abs(bent))) * smoothstep(-0.06, 0.12, v) * (1 - smoothstep(0.45, 1.3, v))
    opacity *= plume.density * smoothstep(0.1, 0.6, billow)
    lit = drifting(cells, across + 0.12, along + 0.5 * t_s - 0.15, octaves=5) - billow  # relief: light from above
    shade = np.clip(plume.shade * (1 + 3.0 * lit) + 0.04 * lit, 0.004, 1)
    small = np.dstack([opacity, shade]).astype(np.float32)
    both = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return both[..., :1], both[..., 1:]


def _span(first: float, last: float, size: int) -> tuple[int, int]:
    return max(0, int(np.floor(first))), min(size, int(np.ceil(last)))
