"""Copy-paste augmentation: flames blended as light, the union of both masks, reproducible from the seed."""

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


def positives(count: int = 3) -> tuple[Frame, Masks]:
    """Return dark images with an orange block each."""
    images = np.full((count, SIDE_PX, SIDE_PX, 3), 10, np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 20:40, 10:22] = 1
    images[masks[..., 0] == 1] = (250, 150, 40)
    return images, masks


def negatives(count: int) -> tuple[Frame, Masks]:
    return np.full((count, SIDE_PX, SIDE_PX, 3), 60, np.uint8), np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)


def pasted(batch: tuple[Frame, Masks], seed: int = 0) -> tuple[Frame, Masks]:
    images, masks = batch[0].copy(), batch[1].copy()
    FlamePaster(*positives())(images, masks, np.random.default_rng(seed))
    return images, masks


def test_the_same_generator_pastes_the_same_flames() -> None:
    first, again, other = (pasted(negatives(8), seed) for seed in (1, 1, 2))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[1] != other[1]).any()


def test_half_of_the_negatives_and_fewer_positives_get_flames_the_rest_is_unchanged() -> None:
    without, with_fire = negatives(300), positives(300)
    images, masks = pasted(without)
    unchanged = ~masks.any(axis=(1, 2, 3))
    assert 0.42 < 1 - unchanged.mean() < 0.58
    assert (images[unchanged] == without[0][unchanged]).all()
    assert 0.12 < (pasted(with_fire)[0] != with_fire[0]).any(axis=(1, 2, 3)).mean() < 0.28


def test_the_mask_is_the_union_of_both_and_only_its_surroundings_change() -> None:
    before = positives(60)
    images, masks = pasted(before)
    assert set(np.unique(masks)) == {0, 1}
    assert (masks >= before[1]).all()
    new = (masks > before[1])[..., 0]
    assert new.any()
    assert images[new][:, 0].mean() > 150, "red light in the new mask"
    padded = np.pad(new, ((0, 0), (2, 2), (2, 2)))
    elsewhere = ~new & ~padded[:, :-4, :-4] & ~padded[:, 4:, 4:] & (before[1] == 0)[..., 0]
    assert np.median(images[elsewhere]) == 10


def test_flames_are_pasted_small_and_large_within_bounds() -> None:
    heights = pasted(negatives(300))[1][..., 0].any(axis=2).sum(axis=1)
    heights = heights[heights > 0]
    assert heights.min() < 0.15 * SIDE_PX
    assert np.median(heights) <= LONGEST_SHARES[1] * SIDE_PX  # two flames in one image may exceed it


def test_without_donors_nothing_changes() -> None:
    images, masks = negatives(10)
    FlamePaster(*negatives(4))(images, masks, np.random.default_rng(0))
    assert (images == 60).all() and not masks.any()


def test_tiny_and_frame_filling_fires_are_not_donors() -> None:
    images, masks = positives(3)
    masks[0] = 0
    masks[0, 5, 5] = 1
    masks[1] = 1
    assert masks[0].mean() < FIRE_SHARES[0] and masks[1].mean() > FIRE_SHARES[1]
    assert FlamePaster(images, masks).donors.tolist() == [2]


def test_a_flame_is_cut_out_with_a_margin_clipped_at_the_border() -> None:
    images, masks = positives(2)
    flame, mask = cut_out(images, masks, 0)
    assert flame.shape[:2] == mask.shape == (20 + 2 * MARGIN_PX, 12 + 2 * MARGIN_PX)
    assert mask.sum() == 20 * 12
    masks[1] = 0
    masks[1, :4, -5:] = 1
    assert cut_out(images, masks, 1)[1].shape == (4 + MARGIN_PX, 5 + MARGIN_PX)


@given(st.integers(0, 255), st.integers(0, 255), st.floats(0, 1))
def test_blended_light_is_at_least_the_flame_and_never_wraps(background: int, flame: int, opacity: float) -> None:
    mask = np.ones((9, 9), np.bool_)
    lit = shine(np.full((9, 9, 3), background, np.uint8), np.full((9, 9, 3), flame, np.uint8), mask, opacity=opacity)
    assert flame - 1 <= int(lit[4, 4, 0]) <= 255 - (255 - background) * (255 - flame) / 255 + 1


@pytest.mark.parametrize("level", [0, 255])
def test_the_boundary_of_a_flame_is_soft(level: int) -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[:, :4] = True
    lit = shine(np.full((9, 9, 3), level, np.uint8), np.full((9, 9, 3), 200, np.uint8), mask, opacity=0.8)
    row = lit[4, :, 0].astype(int)
    assert len(set(row)) >= 3
    assert (np.diff(row) * (1 if level else -1) >= 0).all()
