"""What lies along the outline of a fire, and what an outline drawn one pixel elsewhere would cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from train.evaluation.boundary import away_from_outlines, iou_of_moved_truth, near_outline
from train.evaluation.evaluate import Predictions

Mask = npt.NDArray[np.bool_]

masks = hnp.arrays(np.bool_, (3, 9, 11))


def block(top: int, left: int, size: int = 8) -> Mask:
    mask = np.zeros((1, 20, 20), np.bool_)
    mask[0, top : top + size, left : left + size] = True
    return mask


@given(masks, st.integers(1, 4))
def test_a_pixel_is_near_the_outline_where_a_square_about_it_holds_both(truth: Mask, band_px: int) -> None:
    for row, column in np.ndindex(truth[0].shape):
        around = truth[0, max(0, row - band_px) : row + band_px + 1, max(0, column - band_px) : column + band_px + 1]
        assert near_outline(truth[0], band_px)[row, column] == (around.any() and not around.all())


@given(masks, masks)
def test_with_nothing_left_out_the_figures_are_those_of_the_whole(found: Mask, truth: Mask) -> None:
    whole = Predictions(("a", "b", "c"), found, truth).metrics
    row = away_from_outlines(found, truth)[0]
    assert row["left_out_px"] == 0
    assert row["burning_px"] == truth.sum()
    assert {name: row[name] for name in ("fire_iou", "precision", "recall")} == {
        name: whole[name] for name in ("fire_iou", "precision", "recall")
    }


def test_an_outline_drawn_a_pixel_elsewhere_is_forgiven_and_a_fire_that_was_missed_is_not() -> None:
    elsewhere = away_from_outlines(block(6, 7), block(6, 6), [0, 1])
    assert elsewhere[0]["fire_iou"] == pytest.approx(56 / 72)
    assert elsewhere[1]["fire_iou"] == 1
    missed = away_from_outlines(np.zeros((1, 20, 20), np.bool_), block(6, 6), [0, 1])
    assert [row["fire_iou"] for row in missed] == [0, 0]
    assert [row["burning_px"] for row in missed] == [row["wrong_px"] for row in missed] == [64, 36]


def test_a_fire_no_thicker_than_the_band_falls_out_whole() -> None:
    missed = away_from_outlines(np.zeros((1, 20, 20), np.bool_), block(6, 6, size=2), [0, 1])
    assert [(row["fire_iou"], row["burning_px"]) for row in missed] == [(0, 4), (1, 0)]


def test_a_block_of_eight_that_moves_by_one_shares_seven_of_nine_columns_with_itself() -> None:
    assert iou_of_moved_truth(block(6, 6)) == pytest.approx(7 / 9)
    assert iou_of_moved_truth(block(6, 6), 2) == pytest.approx(6 / 10)
    # At the picture's edge the column that leaves it is not counted, and none comes in from the other side.
    assert iou_of_moved_truth(block(0, 6)) == pytest.approx((56 + 56) / (64 + 72))


@given(masks)
def test_where_all_burns_or_nothing_does_moving_changes_nothing(truth: Mask) -> None:
    assert iou_of_moved_truth(np.ones_like(truth)) == 1
    assert iou_of_moved_truth(np.zeros_like(truth)) == 1


@given(masks)
def test_masks_turned_upside_down_lose_as_much_by_moving(truth: Mask) -> None:
    assert iou_of_moved_truth(truth) == iou_of_moved_truth(truth[:, ::-1, ::-1])
