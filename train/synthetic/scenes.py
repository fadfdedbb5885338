"""A scene with fire, smoke and a hand-held camera.

`make_scene` draws a scene from a seed; `render` returns the frame and the exact mask at a time. The mask holds visible
flames: not their glow, not smoke, and nothing in front of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.images import Frame, Mask
from train.synthetic.backdrops import LIGHTING, UNDRAWN, Canvas, Mood, draw_sky, draw_sun
from train.synthetic.flames import GAMMA, Flame, Light, Smoke, add_flames, add_smoke
from train.synthetic.noise import Field
from train.synthetic.scene_types import SCENE_TYPES, Stage

SHAKE_PX = 6  # margin of the scene around the frame on each side, for a hand-held camera
MOODS: tuple[Mood, ...] = ("day", "day", "overcast", "overcast", "dusk", "night")
MOODS_WITHOUT_FIRE: tuple[Mood, ...] = ("day", "overcast", "dusk", "dusk", "night")


@dataclass(frozen=True)
class Scene:
    """The input of `render`. Light is linear, (height + 2 * SHAKE_PX) x (width + 2 * SHAKE_PX) x 3."""

    backdrop: Light
    foreground: Light
    foreground_mask: Field
    """1 where `foreground` covers backdrop and flames, 0 elsewhere; H x W x 1."""
    flames: tuple[Flame, ...]
    smoke: tuple[Smoke, ...]
    exposure: float
    haze: float
    blur_px: float
    noise: float


def make_scene(seed: int | list[int], scene_type: str, *, has_fire: bool, height: int, width: int) -> Scene:
    """Draw a scene of one of `SCENE_TYPES`, with or without fire. The same seed gives the same scene."""
    rng = np.random.default_rng(seed)
    shape = (height + 2 * SHAKE_PX, width + 2 * SHAKE_PX, 3)
    moods = MOODS if has_fire else MOODS_WITHOUT_FIRE
    mood = moods[rng.integers(len(moods))]
    sky, land, foreground = (np.full(shape, UNDRAWN, np.float32) for _ in range(3))
    stage = Stage(rng, has_fire, mood, *shape[:2], land, foreground)
    draw_sky(sky, rng, mood)
    if mood == "dusk" and stage.chance(0.8):
        x, y = stage.between(0.1, 0.9) * width, stage.between(0.12, 0.4) * height
        draw_sun(sky, x, y, stage.size(0.02, 0.08) * height)
    SCENE_TYPES[scene_type](stage)

    lighting = np.array(LIGHTING[mood], np.float32)
    backdrop = np.where(land[..., :1] == UNDRAWN, sky, land * lighting).astype(np.float32)
    foreground = np.where(foreground[..., :1] == UNDRAWN, UNDRAWN, foreground * lighting).astype(np.float32)
    for shine in stage.lights:
        shine(backdrop)
        shine(foreground)
    return Scene(
        backdrop=_linear(backdrop),
        foreground=_linear(foreground),
        foreground_mask=(foreground[..., :1] != UNDRAWN).astype(np.float32),
        flames=tuple(stage.flames),
        smoke=tuple(stage.smoke),
        exposure=stage.between(0.75, 1.35),
        haze=stage.between(0.0, 0.15 if has_fire else 0.05),
        blur_px=stage.between(0.4, 1.1),
        noise=stage.between(0.004, 0.02) * (1.8 if mood == "night" else 1.0),
    )


def render(scene: Scene, t_s: float, seed: int | list[int]) -> tuple[Frame, Mask]:
    """Return the scene at `t_s` seconds: RGB `uint8` H x W x 3, and the boolean fire mask H x W.

    `seed` draws the camera shake and the sensor noise.
    """
    rng = np.random.default_rng(seed)
    light, fire = add_flames(add_smoke(scene.backdrop, scene.smoke, t_s), scene.flames, t_s)
    light = light * (1 - scene.foreground_mask) + scene.foreground * scene.foreground_mask
    fire = fire & (scene.foreground_mask[..., 0] == 0)

    top, left = rng.integers(0, 2 * SHAKE_PX + 1, 2)
    view = np.s_[top : top + light.shape[0] - 2 * SHAKE_PX, left : left + light.shape[1] - 2 * SHAKE_PX]
    exposed = light[view] * (1 - scene.haze) + scene.haze * light.mean()
    # Bright cores bleed into their surroundings in a lens, up to a bound.
    exposed = cv2.GaussianBlur(np.minimum(exposed * scene.exposure, 2.0), (0, 0), scene.blur_px)
    display = np.clip(exposed, 0, 1) ** np.float32(1 / GAMMA)
    display += scene.noise * rng.standard_normal(display.shape, dtype=np.float32)
    return np.rint(np.clip(display, 0, 1) * 255).astype(np.uint8), fire[view].copy()


def _linear(canvas: Canvas) -> Light:
    light: Light = np.power(np.clip(canvas, 0, 1), np.float32(GAMMA))
    return light
