"""Rendered flames: pure functions of seed and time, with a mask of the flames and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame, Mask
from train.synthetic.flames import GAMMA, Flame, Smoke, add_flames, add_smoke
from train.synthetic.scenes import make_scene, render

SHAPE = (120, 160, 3)
GREY = 70
FLAME = Flame(x_px=80, y_px=100, width_px=50, height_px=70, seed=1)


def light(level: int) -> npt.NDArray[np.float32]:
    return np.full(SHAPE, (level / 255) ** GAMMA, np.float32)


def render_flame(flame: Flame = FLAME, t_s: float = 0.0, level: int = GREY) -> tuple[Frame, Mask]:
    lit, fire = add_flames(light(level), [flame], t_s)
    return np.rint(np.clip(lit, 0, 1) ** (1 / GAMMA) * 255).astype(np.uint8), fire


def test_a_flame_flickers_rises_and_never_goes_out() -> None:
    areas, changed, up_px = [], [], []
    for second in range(8):
        (before, mask), (after, next_mask) = (render_flame(t_s=t_s) for t_s in (second, second + 0.04))
        areas.append(mask.sum())
        changed.append((mask != next_mask).sum())
        # The green of the inside: the boundary at the base stands still.
        green, next_green = before[..., 1].astype(int), after[..., 1].astype(int)
        difference = [
            np.abs(green[45:90, 55:105] - next_green[45 - up : 90 - up, 55:105]).mean() for up in range(-8, 9)
        ]
        up_px.append(np.argmin(difference) - 8)
    assert min(areas) > 100
    assert min(changed) > 0 and np.median(changed) < 0.5 * np.median(areas)
    assert 1 <= np.median(up_px) <= 7


def test_the_mask_holds_flames_and_not_their_glow() -> None:
    frame, fire = render_flame()
    glow = ~fire & (frame.astype(int) - GREY > 5).any(axis=2)
    assert glow.sum() > 100, "a flame illuminates its surroundings"
    assert (frame[fire][:, 0] > 150).mean() > 0.95
    assert (frame[glow][:, 0] > 200).mean() < 0.1


def test_a_core_saturates_towards_yellow_and_the_rim_is_red() -> None:
    frame, fire = render_flame(level=0)
    red, green, blue = frame[fire].astype(int).T
    assert (red >= green).all() and (green >= blue).all()
    assert (red == 255).mean() > 0.3
    assert green.max() > 220 and green.min() < 100


@pytest.mark.parametrize("height_px", [4, 8, 16, 40, 100])
def test_flames_of_every_size_are_rendered(height_px: int) -> None:
    fire = render_flame(Flame(80, 110, height_px * 0.8, height_px, seed=3))[1]
    assert 0.05 * height_px**2 < fire.sum() < 1.5 * height_px**2


@pytest.mark.parametrize(("x_px", "y_px"), [(0, 100), (160, 100), (80, 0), (80, 150), (-500, 60), (80, 900)])
def test_a_flame_may_lie_partly_or_wholly_outside_the_frame(x_px: int, y_px: int) -> None:
    frame, fire = render_flame(replace(FLAME, x_px=x_px, y_px=y_px))
    assert frame.shape == SHAPE and fire.shape == SHAPE[:2]


def test_smoke_darkens_a_bright_sky_and_no_flame_changes_nothing() -> None:
    sky = light(220)
    assert add_smoke(sky, [Smoke(80, 110, 40, 120, seed=1)], 0.0).min() < (150 / 255) ** GAMMA
    lit, fire = add_flames(sky, [], 0.0)
    assert (lit == sky).all() and not fire.any()


def test_the_foreground_hides_flames_in_the_mask() -> None:
    scene = make_scene(4, "vehicle", has_fire=True, height=120, width=160)
    without = replace(scene, foreground_mask=np.zeros_like(scene.foreground_mask))
    visible, all_fire = (render(shown, 0.0, seed=0)[1].sum() for shown in (scene, without))
    assert 0 < visible < all_fire
