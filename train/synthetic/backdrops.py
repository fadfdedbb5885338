"""Draw the surroundings of a fire: sky, ground, buildings, trees, vehicles, and lights that resemble flames.

Every function draws onto a canvas: H x W x 3 display RGB in 0..1, float32. Pixels with the value `UNDRAWN` are
transparent. All randomness comes from the generator passed in.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from train.synthetic.noise import Field, smoothstep, texture

Canvas = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]  # a row for each column, in pixels
Rng = np.random.Generator
Colour = tuple[float, float, float]
Mood = Literal["day", "overcast", "dusk", "night"]
Soil = Literal["asphalt", "grass", "dry"]

UNDRAWN = -1.0

SKIES: dict[Mood, tuple[Colour, Colour]] = {  # zenith and horizon
    "day": ((0.28, 0.48, 0.78), (0.72, 0.82, 0.90)),
    "overcast": ((0.62, 0.65, 0.68), (0.82, 0.83, 0.83)),
    "dusk": ((0.25, 0.25, 0.42), (0.98, 0.56, 0.25)),
    "night": ((0.02, 0.02, 0.05), (0.09, 0.09, 0.13)),
}
LIGHTING: dict[Mood, Colour] = {
    "day": (1.0, 0.98, 0.93),
    "overcast": (0.80, 0.82, 0.84),
    "dusk": (0.55, 0.42, 0.38),
    "night": (0.20, 0.21, 0.27),
}
SOILS: dict[Soil, Colour] = {"asphalt": (0.42, 0.42, 0.44), "grass": (0.34, 0.46, 0.20), "dry": (0.66, 0.57, 0.38)}
WALLS = ((0.55, 0.30, 0.22), (0.80, 0.76, 0.66), (0.60, 0.60, 0.58), (0.85, 0.84, 0.80), (0.74, 0.55, 0.32))
PAINTS = ((0.72, 0.08, 0.06), (0.88, 0.88, 0.88), (0.12, 0.13, 0.15), (0.20, 0.28, 0.48), (0.55, 0.56, 0.58))
RED_PAINT = PAINTS[0]
LEAVES = ((0.20, 0.36, 0.13), (0.28, 0.42, 0.16), (0.36, 0.38, 0.18))
AUTUMN_LEAVES = ((0.66, 0.38, 0.14), (0.58, 0.25, 0.11), (0.70, 0.52, 0.20))

# A car from the side, in fractions of its length: from the tail, and up from the road.
BODY = ((0.0, 0.08), (0.01, 0.23), (0.15, 0.27), (0.28, 0.40), (0.72, 0.41), (0.86, 0.27), (0.98, 0.24), (1.0, 0.08))
PANES = (
    ((0.2, 0.275), (0.3, 0.385), (0.48, 0.39), (0.48, 0.275)),
    ((0.52, 0.275), (0.52, 0.39), (0.7, 0.39), (0.8, 0.275)),
)


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def centre_x(self) -> float:
        return (self.left + self.right) / 2


def draw_sky(canvas: Canvas, rng: Rng, mood: Mood) -> None:
    """Draw a vertical gradient and clouds over the whole canvas."""
    height, width = canvas.shape[:2]
    zenith, horizon = SKIES[mood]
    down = np.linspace(0, 1.4, height, dtype=np.float32).clip(0, 1)[:, None, None] ** (0.8 if mood != "dusk" else 2.0)
    canvas[:] = np.array(zenith, np.float32) * (1 - down) + np.array(horizon, np.float32) * down
    clouds = texture(rng, height, width, height * 0.35, octaves=5, stretch=2.5)
    veil = (0.6 if mood != "night" else 0.08) * smoothstep(rng.uniform(0.35, 0.6), 0.95, clouds)[..., None]
    cloud_colour = (1.0, 0.66, 0.45) if mood == "dusk" else (0.95, 0.95, 0.96)
    canvas[:] = canvas * (1 - veil) + np.array(cloud_colour, np.float32) * veil


def draw_sun(canvas: Canvas, x_px: float, y_px: float, radius_px: float) -> None:
    """Draw a low sun, a common false alarm: a saturated disc in orange haze."""
    distance = _distance(canvas, x_px, y_px) / radius_px
    disc = 1.3 * np.exp(-(distance**4)) + 0.75 / (1 + (distance / 2.2) ** 2)
    _add_light(canvas, disc, (1.0, 0.62, 0.22))


def draw_lamp(canvas: Canvas, x_px: float, y_px: float, radius_px: float, colour: Colour) -> None:
    """Draw a saturated bulb and its halo."""
    reach = 12 * radius_px  # beyond it the halo is invisible
    height, width = canvas.shape[:2]
    left, right = max(0, int(x_px - reach)), min(width, int(x_px + reach))
    top, bottom = max(0, int(y_px - reach)), min(height, int(y_px + reach))
    if left >= right or top >= bottom:
        return
    canvas = canvas[top:bottom, left:right]
    distance = _distance(canvas, x_px - left, y_px - top) / radius_px
    _add_light(canvas, 1.6 * np.exp(-(distance**2)) + 0.25 / (1 + (distance / 2) ** 2.5), colour)


def draw_ground(canvas: Canvas, rng: Rng, horizon_px: int, soil: Soil) -> None:
    """Draw the ground below the horizon, coarser towards the viewer."""
    height, width = canvas.shape[:2]
    rows = height - horizon_px
    if rows < 2:
        return
    coarse = texture(rng, rows, width, rows * 0.5, octaves=5, stretch=4)
    fine = texture(rng, rows, width, 5, octaves=3, stretch=1.6 if soil == "asphalt" else 0.7)
    contrast = 0.12 if soil == "asphalt" else 0.45
    shade = 1 + 0.4 * (coarse - 0.5) + contrast * (fine - 0.5) * np.linspace(0.4, 1.2, rows, dtype=np.float32)[:, None]
    canvas[horizon_px:] = np.array(SOILS[soil], np.float32) * shade[..., None]
    if soil == "asphalt":
        vanish_x, middle = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * width
        for near, far in ((0.0, 0.12), (0.25, 0.4), (0.6, 1.0)):  # dashes towards the vanishing point
            points = [
                (vanish_x + (middle - vanish_x) * share + side * 0.015 * width * share, horizon_px + rows * share)
                for share, side in ((near, -1), (far, -1), (far, 1), (near, 1))
            ]
            _fill(canvas, points, (0.8, 0.78, 0.68))


def draw_hills(canvas: Canvas, rng: Rng, base_px: int, height_px: float, colour: Colour) -> Rows:
    """Draw a ridge across the frame. Return its row in each column."""
    height, width = canvas.shape[:2]
    ridge_height = texture(rng, 4, width, width / 5, octaves=5)[0]
    ridge: Rows = np.clip(base_px - height_px * ridge_height, 0, height - 1).astype(np.int64)
    land = (np.arange(height)[:, None] >= ridge) & (np.arange(height)[:, None] <= base_px)
    rough = texture(rng, height, width, 12, octaves=4)[..., None]
    canvas[land] = (np.array(colour, np.float32) * (0.65 + 0.7 * rough))[land]
    return ridge


def draw_building(canvas: Canvas, rng: Rng, box: Box) -> list[Box]:
    """Draw a facade with a grid of windows, and a roof. Return the windows."""
    left, top, right, bottom = box
    if right - left < 8 or bottom - top < 8:
        return []
    wall = np.array(WALLS[rng.integers(len(WALLS))], np.float32)
    grain = texture(rng, bottom - top, right - left, 4, octaves=2, stretch=3)[..., None]
    stain = texture(rng, bottom - top, right - left, 60, octaves=3)[..., None]
    _put(canvas, left, top, wall * (0.72 + 0.2 * grain + 0.3 * stain))
    if rng.random() < 0.5:  # gable roof, else flat
        rise = (right - left) * rng.uniform(0.2, 0.4)
        peak = (left + right) / 2
        _fill(canvas, [(left - 4, top), (peak, top - rise), (right + 4, top)], tuple(rng.uniform(0.2, 0.42, 3)))
    else:
        _rectangle(canvas, Box(left - 3, top - 5, right + 3, top + 2), (0.25, 0.24, 0.24))
    pane_px = rng.uniform(14, 30) * canvas.shape[0] / 250
    columns, floors = max(1, int((right - left) / (1.9 * pane_px))), max(1, int((bottom - top) / (2.1 * pane_px)))
    windows = []
    for floor in range(floors):
        for column in range(columns):
            x = left + (right - left) * (column + 0.5) / columns
            y = top + (bottom - top) * (floor + 0.5) / floors
            window = Box(int(x - pane_px / 2.2), int(y - pane_px / 1.7), int(x + pane_px / 2.2), int(y + pane_px / 1.7))
            frame_colour = (0.88, 0.87, 0.84) if wall.mean() < 0.7 else (0.4, 0.38, 0.36)
            _rectangle(canvas, Box(window.left - 2, window.top - 2, window.right + 2, window.bottom + 2), frame_colour)
            _rectangle(canvas, window, tuple(rng.uniform(0.12, 0.4) * np.array((0.85, 0.95, 1.05))))
            _rectangle(canvas, Box(int(x), window.top, int(x) + 1, window.bottom), frame_colour)
            windows.append(window)
    return windows


def draw_tree(canvas: Canvas, rng: Rng, x_px: float, base_px: float, size_px: float, leaves: Colour) -> None:
    """Draw a trunk and a clumpy crown, lit from above."""
    thick, fork = size_px * 0.05, base_px - 0.6 * size_px
    trunk = [(x_px - thick, base_px), (x_px - thick / 2, fork), (x_px + thick / 2, fork), (x_px + thick, base_px)]
    _fill(canvas, trunk, (0.22, 0.17, 0.12))
    side = max(8, int(size_px))
    steps = np.linspace(-1, 1, side, dtype=np.float32)
    across, down = steps[None, :], steps[:, None]
    clump, leaf = texture(rng, side, side, side / 4, octaves=5), texture(rng, side, side, 5, octaves=3)
    crown = across**2 + down**2 + 0.9 * (clump - 0.5) + 0.35 * (leaf - 0.5) < 0.62
    foliage = np.array(leaves, np.float32) * (0.5 + 0.55 * leaf + 0.35 * clump - 0.22 * down)[..., None]
    _put(canvas, int(x_px - side / 2), int(base_px - 0.35 * size_px - 0.72 * side), foliage, crown)


def draw_vehicle(
    canvas: Canvas, x_px: float, base_px: float, length_px: float, render: Colour, *, windows: bool = True
) -> None:
    """Draw a car from the side. Without `windows` the background shows through them, as in a burnt-out car."""

    def at(x: float, y: float) -> tuple[float, float]:
        return x_px + (x - 0.5) * length_px, base_px - y * length_px

    def pixels(points: tuple[tuple[float, float], ...]) -> npt.NDArray[np.int32]:
        return np.array([at(*point) for point in points]).round().astype(np.int32)

    before = canvas.copy()
    shade = [at(x, y) for x, y in ((-0.06, -0.02), (0.04, 0.06), (0.96, 0.06), (1.06, -0.02))]
    _fill(canvas, shade, (0.08, 0.08, 0.08))
    body: npt.NDArray[np.uint8] = np.zeros(canvas.shape[:2], np.uint8)
    panes: npt.NDArray[np.uint8] = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(body, [pixels(BODY)], (1.0,))
    cv2.fillPoly(panes, [pixels(pane) for pane in PANES], (1.0,))
    # The sky reflects on roof, bonnet and the shoulder below the windows; the sills are dark.
    up = (base_px - np.arange(canvas.shape[0], dtype=np.float32)) / length_px
    gloss = np.interp(up, (0.08, 0.13, 0.19, 0.235, 0.245, 0.28, 0.41), (0.35, 0.6, 0.85, 1.2, 0.95, 1.0, 1.3))
    lacquer = np.clip(gloss[:, None, None] * np.array(render) + 0.05 * (gloss[:, None, None] - 0.5), 0, 1)
    canvas[:] = np.where(body[..., None] > 0, lacquer, canvas)
    canvas[panes > 0] = (0.16, 0.19, 0.22) if windows else before[panes > 0]
    for wheel in (0.19, 0.81):
        x, y = at(wheel, 0.085)
        for radius, colour in ((0.085, (0.05, 0.05, 0.05)), (0.045, (0.35, 0.35, 0.37))):
            cv2.circle(canvas, (round(x), round(y)), max(1, round(radius * length_px)), colour, -1)


def draw_grass(canvas: Canvas, rng: Rng, rows_px: Rows, blade_px: float, colour: Colour) -> None:
    """Draw blades of grass along the row of each column, in front of a fire there."""
    width = canvas.shape[1]
    for x in rng.uniform(0, width, int(width * 1.2)):
        y = float(rows_px[min(int(x), width - 1)]) + rng.uniform(0, blade_px)
        tip = (round(x + rng.normal(0, 0.3) * blade_px), round(y - rng.uniform(0.3, 1.0) * blade_px))
        cv2.line(canvas, (round(x), round(y)), tip, tuple(rng.uniform(0.5, 1.1) * np.array(colour)), 1)


def draw_logs(canvas: Canvas, rng: Rng, x_px: float, base_px: float, width_px: float) -> None:
    """Draw charred wood across the base of a bonfire."""
    for _ in range(14):
        middle = x_px + rng.uniform(-0.35, 0.35) * width_px
        y = base_px - rng.uniform(0, 0.14) * width_px
        run, rise = rng.uniform(0.1, 0.25) * width_px, rng.normal(0, 0.09) * width_px
        left, right = (round(middle - run), round(y + rise)), (round(middle + run), round(y - rise))
        bark = tuple(rng.uniform(0.03, 0.22) * np.array((1.0, 0.85, 0.72)))
        cv2.line(canvas, left, right, bark, max(1, round(0.03 * width_px)))


def draw_lit_window(canvas: Canvas, box: Box) -> None:
    """Draw a lamp behind glass: a bright amber rectangle that resembles a room on fire."""
    visible = canvas[box.top : box.bottom, box.left : box.right]
    visible[:] = np.where(visible[..., :1] == UNDRAWN, UNDRAWN, np.array((1.0, 0.82, 0.48), np.float32))


def _put(canvas: Canvas, left: int, top: int, patch: Canvas, patch_mask: npt.NDArray[np.bool_] | None = None) -> None:
    """Copy a patch onto the canvas, clipped at its edges."""
    height, width = canvas.shape[:2]
    rows = slice(max(0, top), min(height, top + patch.shape[0]))
    columns = slice(max(0, left), min(width, left + patch.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    view = canvas[rows, columns]
    view[:] = patch[inside] if patch_mask is None else np.where(patch_mask[inside][..., None], patch[inside], view)


def _fill(canvas: Canvas, points: list[tuple[float, float]], colour: Colour) -> None:
    cv2.fillPoly(canvas, [np.array(points).round().astype(np.int32)], colour)


def _rectangle(canvas: Canvas, box: Box, colour: Colour) -> None:
    cv2.rectangle(canvas, (box.left, box.top), (box.right, box.bottom), colour, -1)


def _add_light(canvas: Canvas, strength: Field, colour: Colour) -> None:
    """Add light to drawn pixels only."""
    lit = np.minimum(canvas + strength[..., None] * np.array(colour, np.float32), 1.0)
    canvas[:] = np.where(canvas[..., :1] == UNDRAWN, canvas, lit)


def _distance(canvas: Canvas, x_px: float, y_px: float) -> Field:
    height, width = canvas.shape[:2]
    x, y = np.arange(width, dtype=np.float32)[None, :] - x_px, np.arange(height, dtype=np.float32)[:, None] - y_px
    distance: Field = np.hypot(x, y).astype(np.float32)
    return distance
