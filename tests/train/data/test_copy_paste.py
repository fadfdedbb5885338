"""Flames pasted elsewhere: light over what is there, the union of both masks, and the same draw for the same seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.images import Frame
from train.data.copy_paste import FIRE_SHARES, LONGEST_SHARES, MARGIN_PX, FlamePaster, cut_out, shine

SIDE_PX = 64
Masks = npt.NDArray[np.uint8]


def burning(count: int = 3) -> tuple[Frame, Masks]:
    """Dark pictures with one orange block each."""
    images = np.full((count, SIDE_PX, SIDE_PX, 3), 10, np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 20:40, 10:22] = 1
    images[masks[..., 0] == 1] = (250, 150, 40)
    return images, masks


def nothing(count: int, level: int = 60) -> tuple[Frame, Masks]:
    return np.full((count, SIDE_PX, SIDE_PX, 3), level, np.uint8), np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)


def pasted(given: tuple[Frame, Masks], seed: int = 0) -> tuple[Frame, Masks]:
    images, masks = given[0].copy(), given[1].copy()
    FlamePaster(*burning())(images, masks, np.random.default_rng(seed))
    return images, masks


def test_the_same_generator_pastes_the_same_and_another_pastes_otherwise() -> None:
    one, again, other = (pasted(nothing(8), seed) for seed in (1, 1, 2))
    assert (one[0] == again[0]).all() and (one[1] == again[1]).all()
    assert (one[1] != other[1]).any()


def test_about_half_of_what_does_not_burn_gets_flames_and_less_of_what_does() -> None:
    without, with_fire = nothing(400), burning(400)
    lit = (pasted(without)[1] != without[1]).any(axis=(1, 2, 3)).mean()
    lit_again = (pasted(with_fire)[0] != with_fire[0]).any(axis=(1, 2, 3)).mean()
    assert 0.42 < lit < 0.58
    assert 0.12 < lit_again < 0.28


def test_a_picture_that_is_left_alone_is_left_to_the_byte() -> None:
    before = nothing(40)
    images, masks = pasted(before)
    left = ~masks.any(axis=(1, 2, 3))
    assert left.any() and not left.all()
    assert (images[left] == before[0][left]).all()


def test_the_mask_says_fire_where_a_flame_now_is_and_keeps_the_fire_there_was() -> None:
    before = burning(60)
    images, masks = pasted(before)
    assert set(np.unique(masks)) == {0, 1}
    assert (masks >= before[1]).all()
    new = (masks > before[1])[..., 0]
    assert new.any()
    assert images[new][:, 0].mean() > 150, "red shines where the new mask lies"
    far = ~new & ~np.pad(new, ((0, 0), (2, 2), (2, 2)))[:, :-4, :-4] & ~np.pad(new, ((0, 0), (2, 2), (2, 2)))[:, 4:, 4:]
    elsewhere = far & (before[1] == 0)[..., 0]
    assert np.median(images[elsewhere]) == 10


def test_flames_are_pasted_small_and_large_but_within_bounds() -> None:
    masks = pasted(nothing(300))[1][..., 0]
    heights = masks.any(axis=2).sum(axis=1)
    heights = heights[heights > 0]
    assert heights.min() < 0.15 * SIDE_PX
    # Two flames may stand apart; one alone is no taller than its box.
    tall = np.quantile(heights, 0.5)
    assert tall <= LONGEST_SHARES[1] * SIDE_PX


def test_without_fire_to_paste_nothing_changes() -> None:
    images, masks = nothing(10)
    FlamePaster(*nothing(4))(images, masks, np.random.default_rng(0))
    assert (images == 60).all() and not masks.any()


def test_specks_and_walls_of_fire_are_not_pasted() -> None:
    images, masks = burning(3)
    masks[0] = 0
    masks[0, 5, 5] = 1
    masks[1] = 1
    assert masks[0].mean() < FIRE_SHARES[0] and masks[1].mean() > FIRE_SHARES[1]
    assert FlamePaster(images, masks).donors.tolist() == [2]


def test_a_flame_is_cut_out_with_its_margin_and_at_the_border_without() -> None:
    images, masks = burning(2)
    flame, mask = cut_out(images, masks, 0)
    assert flame.shape[:2] == mask.shape == (20 + 2 * MARGIN_PX, 12 + 2 * MARGIN_PX)
    assert mask.sum() == 20 * 12
    masks[1] = 0
    masks[1, :4, -5:] = 1
    assert cut_out(images, masks, 1)[1].shape == (4 + MARGIN_PX, 5 + MARGIN_PX)


@given(st.integers(0, 255), st.integers(0, 255), st.floats(0, 1))
def test_light_never_falls_below_the_flame_nor_wraps_around(behind: int, flame: int, opacity: float) -> None:
    mask = np.ones((9, 9), np.bool_)
    lit = shine(np.full((9, 9, 3), behind, np.uint8), np.full((9, 9, 3), flame, np.uint8), mask, opacity=opacity)
    assert int(lit[4, 4, 0]) >= flame - 1
    assert int(lit[4, 4, 0]) <= 255 - (255 - behind) * (255 - flame) / 255 + 1


def test_where_no_flame_is_nothing_shines() -> None:
    behind = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    mask = np.zeros((12, 12), np.bool_)
    mask[:4] = True
    lit = shine(behind, np.full((12, 12, 3), 255, np.uint8), mask, opacity=0.5)
    assert (lit[6:] == behind[6:]).all()
    assert (lit[:3] == 255).all()


@pytest.mark.parametrize("level", [0, 255])
def test_the_edge_of_a_flame_is_soft(level: int) -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[:, :4] = True
    lit = shine(np.full((9, 9, 3), level, np.uint8), np.full((9, 9, 3), 200, np.uint8), mask, opacity=0.8)
    row = lit[4, :, 0].astype(int)
    assert len(set(row)) >= 3
    assert (np.diff(row) * (1 if level else -1) >= 0).all()
