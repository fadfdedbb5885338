"""A scene: a place, what burns in it, and the camera that looks at it.

`make_scene` draws a scene by its seed, once; `paint` gives the picture and the exact mask at a time. Mind what the
mask holds: flames that can be seen, not their glow, not smoke, and nothing that stands before them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame
from train.synthetic.backdrops import CLEAR, LIGHTING, Canvas, Mood, draw_sky, draw_sun
from train.synthetic.flames import GAMMA, Flame, Light, Smoke, add_flames, add_smoke
from train.synthetic.noise import Field
from train.synthetic.scene_types import KINDS, Stage

SHAKE_PX = 6  # a scene is larger than the frame by so much on each side: the camera is hand-held
MOODS: tuple[Mood, ...] = ("day", "day", "overcast", "overcast", "dusk", "night")
MOODS_WITHOUT_FIRE: tuple[Mood, ...] = ("day", "overcast", "dusk", "dusk", "night")


@dataclass(frozen=True)
class Scene:
    """What `paint` needs. Light is linear, (height + 2 * SHAKE_PX) x (width + 2 * SHAKE_PX) x 3."""

    backdrop: Light
    front: Light
    hidden: Field
    """1 where `front` stands before backdrop and flames, 0 elsewhere; H x W x 1."""
    flames: tuple[Flame, ...]
    smoke: tuple[Smoke, ...]
    exposure: float
    haze: float
    blur_px: float
    noise: float


def make_scene(seed: int | list[int], kind: str, *, fire: bool, height: int, width: int) -> Scene:
    """Draw a scene of one of `KINDS`. The same seed gives the same scene; `fire` decides whether anything burns."""
    rng = np.random.default_rng(seed)
    shape = (height + 2 * SHAKE_PX, width + 2 * SHAKE_PX, 3)
    moods = MOODS if fire else MOODS_WITHOUT_FIRE
    mood = moods[rng.integers(len(moods))]
    sky, land, front = (np.full(shape, CLEAR, np.float32) for _ in range(3))
    stage = Stage(rng, fire, mood, sky, land, front)
    draw_sky(sky, rng, mood)
    if mood == "dusk" and stage.chance(0.8):
        x, y = stage.between(0.1, 0.9) * width, stage.between(0.12, 0.4) * height
        draw_sun(sky, x, y, stage.size(0.02, 0.08) * height)
    KINDS[kind](stage)

    lighting = np.array(LIGHTING[mood], np.float32)
    back = np.where(land[..., :1] == CLEAR, sky, land * lighting).astype(np.float32)
    front = np.where(front[..., :1] == CLEAR, CLEAR, front * lighting).astype(np.float32)
    for shine in stage.lights:
        shine(back)
        shine(front)
    return Scene(
        backdrop=_linear(back),
        front=_linear(front),
        hidden=(front[..., :1] != CLEAR).astype(np.float32),
        flames=tuple(stage.flames),
        smoke=tuple(stage.smoke),
        exposure=stage.between(0.75, 1.35),
        haze=stage.between(0.0, 0.15 if fire else 0.05),
        blur_px=stage.between(0.4, 1.1),
        noise=stage.between(0.004, 0.02) * (1.8 if mood == "night" else 1.0),
    )


def paint(scene: Scene, t_s: float, seed: int | list[int]) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """The scene at `t_s` seconds; `seed` draws the shake of the camera and the noise of its sensor.

    Returns RGB `uint8` H x W x 3 and fire as boolean H x W.
    """
    rng = np.random.default_rng(seed)
    light, burning = add_flames(add_smoke(scene.backdrop, scene.smoke, t_s), scene.flames, t_s)
    light = light * (1 - scene.hidden) + scene.front * scene.hidden
    burning = burning & (scene.hidden[..., 0] == 0)

    top, left = rng.integers(0, 2 * SHAKE_PX + 1, 2)
    view = np.s_[top : top + light.shape[0] - 2 * SHAKE_PX, left : left + light.shape[1] - 2 * SHAKE_PX]
    seen = light[view] * (1 - scene.haze) + scene.haze * light.mean()
    # Bright cores bleed into their surroundings in a lens, but not without bound.
    seen = cv2.GaussianBlur(np.minimum(seen * scene.exposure, 2.0), (0, 0), scene.blur_px)
    display = np.clip(seen, 0, 1) ** np.float32(1 / GAMMA)
    display += scene.noise * rng.standard_normal(display.shape, dtype=np.float32)
    return np.rint(np.clip(display, 0, 1) * 255).astype(np.uint8), burning[view].copy()


def _linear(canvas: Canvas) -> Light:
    light: Light = np.power(np.clip(canvas, 0, 1), np.float32(GAMMA))
    return light
