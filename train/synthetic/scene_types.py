"""The scene types of the synthetic set, each with fire and with things that resemble fire.

A scene is drawn once onto a `Stage`, with or without fire: without, `add_flame` and `add_smoke` do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from train.synthetic import backdrops as draw
from train.synthetic.backdrops import Box, Canvas, Colour, Mood
from train.synthetic.flames import Flame, Smoke

AMBER: Colour = (1.0, 0.62, 0.25)
RED_LAMP: Colour = (1.0, 0.16, 0.08)
HEADLAMP: Colour = (1.0, 0.9, 0.7)
CHARRED: Colour = (0.13, 0.12, 0.12)


@dataclass
class Stage:
    """The layers of a scene: land in front of the sky, and a foreground in front of the flames."""

    rng: np.random.Generator
    has_fire: bool
    mood: Mood
    height: int
    width: int
    land: Canvas
    foreground: Canvas
    lights: list[Callable[[Canvas], None]] = field(default_factory=list)
    """Drawn last, unaffected by the lighting of the mood."""
    flames: list[Flame] = field(default_factory=list)
    smoke: list[Smoke] = field(default_factory=list)

    @property
    def is_dark(self) -> bool:
        return self.mood in ("dusk", "night")

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def size(self, low: float, high: float) -> float:
        """Draw from a log-uniform distribution."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def pick(self, choices: tuple[Colour, ...]) -> Colour:
        return choices[self.rng.integers(len(choices))]

    def add_flame(self, x: float, y: float, width: float, height: float, *, wind: float = 0.0) -> None:
        """Add a flame, if the scene has fire."""
        if self.has_fire:
            lean = wind + self.rng.normal(0, 0.08)
            self.flames.append(Flame(x, y, width, height, self._seed(), self.between(0.8, 1.3), lean))

    def add_smoke(self, x: float, y: float, width: float, *, shade: float, density: float, wind: float) -> None:
        """Add a plume of smoke up to the sky, if the scene has fire."""
        if self.has_fire:
            height = max(0.5 * self.height, y) * self.between(0.8, 1.4)
            daylight = float(np.mean(draw.LIGHTING[self.mood])) ** 1.5
            self.smoke.append(Smoke(x, y, width, height, self._seed(), shade * daylight, density, wind))

    def add_tree(self, base: float, size: float) -> None:
        """Add a tree at any x; 40 % are as orange as flames."""
        leaves = self.pick(draw.AUTUMN_LEAVES if self.chance(0.4) else draw.LEAVES)
        draw.draw_tree(self.land, self.rng, self.between(0, 1) * self.width, base, size, leaves)

    def add_lamp(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.lights.append(lambda canvas: draw.draw_lamp(canvas, x, y, radius, colour))

    def add_lit_window(self, window: Box) -> None:
        self.lights.append(lambda canvas: draw.draw_lit_window(canvas, window))

    def _seed(self) -> int:
        return int(self.rng.integers(2**31))


def _street(s: Stage) -> None:
    """Houses along a road; flames in windows or through a roof."""
    draw.draw_ground(s.land, s.rng, int(0.66 * s.height), "asphalt")
    windows: list[Box] = []
    houses: list[Box] = []
    left = -s.between(0, 0.15) * s.width
    while left < s.width:
        right = left + s.between(0.3, 0.75) * s.width
        house = Box(int(left), int(s.between(0.15, 0.42) * s.height), int(right), int(s.between(0.68, 0.76) * s.height))
        windows += draw.draw_building(s.land, s.rng, house)
        houses.append(house)
        left = right + s.between(0, 0.2) * s.width
    for window in windows:
        if s.chance(0.2 if s.is_dark else 0.02):
            s.add_lit_window(window)
    _trees_and_traffic(s, 0.9 * s.height)

    wind = s.rng.normal(0, 0.25)
    visible = [window for window in windows if window.left > 0 and window.right < s.width]
    if visible and s.chance(0.65):
        for index in s.rng.permutation(len(visible))[: s.rng.integers(1, 4)]:
            window = visible[index]
            middle, wide, tall = window.centre_x, window.right - window.left, window.bottom - window.top
            s.add_smoke(middle, window.top, 2.2 * wide, shade=0.03, density=0.95, wind=wind)
            s.add_flame(middle, window.bottom + 0.05 * tall, 1.15 * wide, tall * s.size(1.3, 4.0), wind=wind * 0.5)
    else:
        roof = houses[s.rng.integers(len(houses))]
        middle = float(np.clip(roof.centre_x, 0.2 * s.width, 0.8 * s.width))
        wide = (roof.right - roof.left) * s.size(0.35, 0.95)
        tall = s.size(0.25, 0.6) * s.height
        s.add_smoke(middle, roof.top - 0.2 * tall, wide, shade=0.04, density=0.95, wind=wind)
        s.add_flame(middle, roof.top + 0.25 * tall, wide, tall, wind=wind * 0.5)


def _vehicle_fire(s: Stage) -> None:
    """A road with cars, one of them on fire, its body in front of the flames."""
    draw.draw_hills(s.land, s.rng, int(0.58 * s.height), 0.25 * s.height, s.pick(draw.LEAVES))
    draw.draw_ground(s.land, s.rng, int(0.56 * s.height), "asphalt")
    _trees_and_traffic(s, 0.7 * s.height)
    length, base = s.size(0.3, 0.75) * s.width, s.between(0.74, 0.92) * s.height
    x, wind = s.between(0.3, 0.7) * s.width, s.rng.normal(0, 0.2)
    draw.draw_vehicle(s.foreground, x, base, length, CHARRED if s.has_fire else draw.RED_PAINT, windows=not s.has_fire)
    s.add_smoke(x, base - 0.5 * length, 0.9 * length, shade=0.02, density=0.97, wind=wind)
    s.add_flame(x, base - 0.1 * length, length * s.between(0.6, 1.0), length * s.size(0.5, 1.3), wind=wind)
    x += s.between(-0.4, 0.4) * length  # a second flame at one end, at the bonnet or the tank
    s.add_flame(x, base - 0.05 * length, 0.4 * length, length * s.between(0.3, 0.6), wind=wind)


def _field(s: Stage) -> None:
    """Grass and trees with a line of fire and pale smoke."""
    horizon = int(s.between(0.3, 0.5) * s.height)
    soil: draw.Soil = "dry" if s.chance(0.6) else "grass"
    draw.draw_hills(s.land, s.rng, horizon + 2, 0.2 * s.height, s.pick(draw.LEAVES))
    draw.draw_ground(s.land, s.rng, horizon, soil)
    for _ in range(s.rng.integers(2, 7)):
        s.add_tree(s.between(1.05, 1.5) * horizon, s.size(0.15, 0.6) * s.height)
    across = np.arange(s.width)
    slope, start, wave = s.rng.normal(0, 0.12), s.between(0.6, 0.85) * s.height, s.between(0, 6)
    line = start + slope * (across - s.width / 2) + 0.02 * s.height * np.sin(across / s.width * 7 + wave)
    rows = np.clip(line, 0, s.height - 1).astype(np.int64)
    draw.draw_grass(s.foreground, s.rng, rows, s.size(0.03, 0.09) * s.height, draw.SOILS[soil])
    wind, tall = s.rng.normal(0, 0.3), s.size(0.08, 0.45) * s.height
    middle, reach = s.between(0.2, 0.8) * s.width, s.size(0.1, 0.55) * s.width
    for index in range(s.rng.integers(2, 8)):
        x = float(np.clip(middle + s.between(-reach, reach), 0, s.width - 1))
        y, high = float(rows[int(x)]) + 0.01 * s.height, tall * s.size(0.5, 1.3)
        if index % 2 == 0:
            s.add_smoke(
                x, y - 0.3 * high, 0.25 * s.width, shade=s.size(0.15, 0.5), density=s.between(0.35, 0.8), wind=wind
            )
        s.add_flame(x, y, high * s.size(0.6, 2.5), high, wind=wind)


def _hills(s: Stage) -> None:
    """A wide view with a few distant fire pixels below a column of smoke."""
    far = draw.draw_hills(s.land, s.rng, int(0.8 * s.height), 0.45 * s.height, (0.38, 0.44, 0.46))
    near = draw.draw_hills(s.land, s.rng, int(0.8 * s.height), 0.2 * s.height, s.pick(draw.LEAVES))
    draw.draw_ground(s.land, s.rng, int(0.78 * s.height), "grass")
    for _ in range(s.rng.integers(0, 4)):
        s.add_tree(s.between(0.85, 1.0) * s.height, s.size(0.1, 0.4) * s.height)
    wind, tall = s.rng.normal(0, 0.3), s.size(0.03, 0.12) * s.height
    ridge, below, middle = far if s.chance(0.5) else near, s.between(0.5, 1.2) * tall, s.between(0.15, 0.85) * s.width
    top = float(ridge[int(middle)]) + below - 0.5 * tall
    s.add_smoke(middle, top, 3 * tall, shade=s.size(0.06, 0.5), density=0.85, wind=wind)
    for _ in range(s.rng.integers(1, 4)):
        x = float(np.clip(middle + s.rng.normal(0, 1.2) * tall, 0, s.width - 1))
        s.add_flame(
            x, float(ridge[int(x)]) + below, tall * s.size(0.7, 2.0), tall * s.between(0.6, 1.0), wind=wind * 0.5
        )
    if s.is_dark:
        for _ in range(s.rng.integers(3, 12)):
            s.add_lamp(s.between(0, 1) * s.width, s.between(0.6, 0.85) * s.height, s.size(0.8, 2.0), AMBER)


def _bonfire(s: Stage) -> None:
    """A yard with a fire that fills much of the frame, behind its logs."""
    right, top = int(s.between(0.3, 0.9) * s.width), int(s.between(0.15, 0.35) * s.height)
    house = Box(int(-0.05 * s.width), top, right, int(0.64 * s.height))
    draw.draw_ground(s.land, s.rng, int(0.6 * s.height), "grass" if s.chance(0.5) else "dry")
    for window in draw.draw_building(s.land, s.rng, house):
        if s.chance(0.4 if s.is_dark else 0.03):
            s.add_lit_window(window)
    _trees_and_traffic(s, 0.66 * s.height)
    x, base, wide = s.between(0.3, 0.7) * s.width, s.between(0.82, 0.95) * s.height, s.size(0.18, 0.65) * s.width
    wind, tall = s.rng.normal(0, 0.1), s.size(0.35, 0.8) * s.height
    draw.draw_logs(s.foreground, s.rng, x, base + 0.04 * wide, 0.85 * wide)
    s.add_smoke(x, base - 0.7 * tall, 0.8 * wide, shade=s.size(0.04, 0.4), density=s.between(0.3, 0.8), wind=wind)
    s.add_flame(x, base, wide, tall, wind=wind)
    s.add_flame(x + s.rng.normal(0, 0.2) * wide, base, 0.6 * wide, 0.7 * tall, wind=wind)


def _trees_and_traffic(s: Stage, base: float) -> None:
    """Add things that resemble fire, in scenes with and without it: autumn trees, red cars, lamps."""
    for _ in range(s.rng.integers(0, 4)):
        s.add_tree(base - 0.05 * s.height, s.size(0.2, 0.6) * s.height)
    for _ in range(s.rng.integers(0, 3)):
        x, length, y = s.between(0, 1) * s.width, s.size(0.12, 0.35) * s.width, base + s.between(0, 0.06) * s.height
        paint_colour = draw.RED_PAINT if s.chance(0.4) else s.pick(draw.PAINTS)
        draw.draw_vehicle(s.land, x, y, length, paint_colour)
        if s.is_dark or s.chance(0.2):
            s.add_lamp(x + 0.48 * length, y - 0.2 * length, max(1.5, 0.02 * length), RED_LAMP)
            s.add_lamp(x - 0.48 * length, y - 0.2 * length, max(1.5, 0.025 * length), HEADLAMP)
    if s.is_dark:
        for _ in range(s.rng.integers(1, 5)):
            s.add_lamp(
                s.between(0, 1) * s.width, s.between(0.15, 0.45) * s.height, s.size(0.008, 0.03) * s.height, AMBER
            )


SCENE_TYPES: dict[str, Callable[[Stage], None]] = {
    "street": _street,
    "field": _field,
    "vehicle": _vehicle_fire,
    "bonfire": _bonfire,
    "hills": _hills,
}
