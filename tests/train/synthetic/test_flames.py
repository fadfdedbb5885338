"""Painted flames: pure functions of seed and time, and a mask that holds what burns and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from train.synthetic.flames import Flame, Smoke, flame_frame
from train.synthetic.scenes import make_scene, paint

GREY = np.full((120, 160, 3), 70, np.uint8)
FLAME = Flame(x_px=80, y_px=100, width_px=50, height_px=70, seed=1)


def test_the_same_flame_at_the_same_time_is_the_same_picture() -> None:
    one, two = flame_frame(GREY, [FLAME], 1.5), flame_frame(GREY, [FLAME], 1.5)
    assert (one[0] == two[0]).all()
    assert (one[1] == two[1]).all()


def test_a_flame_flickers_a_little_in_a_moment_and_never_goes_out() -> None:
    masks = [flame_frame(GREY, [FLAME], frame / 25)[1] for frame in range(25)]
    areas = np.array([mask.sum() for mask in masks])
    moved = np.array([(a != b).sum() for a, b in pairwise(masks)])
    assert areas.min() > 100
    assert (moved > 0).all()
    assert np.median(moved) < 0.5 * np.median(areas)


def test_its_tongues_rise() -> None:
    up_px = []
    for moment in range(8):
        before, after = (flame_frame(GREY, [FLAME], t_s)[0][..., 1].astype(int) for t_s in (moment, moment + 0.04))
        # The green of the flame's inside, since the outline stands still at its foot.
        difference = {
            up: np.abs(before[45:90, 55:105] - after[45 - up : 90 - up, 55:105]).mean() for up in range(-8, 9)
        }
        up_px.append(min(difference, key=lambda up: difference[up]))
    assert 1 <= np.median(up_px) <= 7


def test_the_mask_holds_flames_and_not_their_glow() -> None:
    frame, burning = flame_frame(GREY, [FLAME], 0.0)
    glow = ~burning & (frame.astype(int) - GREY > 5).any(axis=2)
    assert glow.sum() > 100, "a flame lights up what is around it"
    assert (frame[burning][:, 0] > 150).mean() > 0.95
    assert (frame[glow][:, 0] > 200).mean() < 0.1


def test_a_core_saturates_towards_yellow_and_the_rim_is_red() -> None:
    frame, burning = flame_frame(np.zeros_like(GREY), [FLAME], 0.0)
    red, green, blue = frame[burning].astype(int).T
    assert (red >= green).all() and (green >= blue).all()
    assert (red == 255).mean() > 0.3
    assert green.max() > 220
    assert green.min() < 100


@pytest.mark.parametrize("height_px", [4, 8, 16, 40, 100])
def test_flames_of_every_size_are_painted(height_px: int) -> None:
    _, burning = flame_frame(GREY, [Flame(80, 110, height_px * 0.8, height_px, seed=3)], 0.0)
    assert 0.05 * height_px**2 < burning.sum() < 1.5 * height_px**2


@pytest.mark.parametrize(("x_px", "y_px"), [(0, 100), (160, 100), (80, 0), (80, 150), (-500, 60), (80, 900)])
def test_a_flame_may_stand_partly_or_wholly_outside_the_frame(x_px: int, y_px: int) -> None:
    frame, burning = flame_frame(GREY, [Flame(x_px, y_px, 50, 70, seed=1)], 0.0)
    assert frame.shape == GREY.shape
    assert burning.shape == GREY.shape[:2]


def test_smoke_alone_burns_nothing_and_darkens_a_bright_sky() -> None:
    sky = np.full((120, 160, 3), 220, np.uint8)
    frame, burning = flame_frame(sky, [], 0.0, smoke=[Smoke(80, 110, 40, 120, seed=1)])
    assert not burning.any()
    assert frame.min() < 150


def test_no_flames_leave_the_picture_as_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    frame, burning = flame_frame(picture, [], 0.0)
    assert (frame == picture).all()
    assert not burning.any()


def test_what_stands_before_the_flames_is_not_in_the_mask() -> None:
    scene = make_scene(4, "vehicle", fire=True, height=120, width=160)
    behind = make_scene(4, "vehicle", fire=True, height=120, width=160)
    behind.hidden[:] = 0
    seen, all_of_it = (paint(of, 0.0, seed=0)[1].sum() for of in (scene, behind))
    assert 0 < seen < all_of_it
