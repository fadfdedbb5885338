"""Metrics without the boundary of a fire, and the cost of a boundary that is off by one pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.images import Mask
from train.evaluation.boundary import boundary_band, boundary_metrics, metrics_without_boundary, shifted_truth_iou
from train.evaluation.evaluate import Predictions

masks = hnp.arrays(np.bool_, (3, 9, 11))


def block(top: int, left: int, size: int = 8) -> Mask:
    mask = np.zeros((1, 20, 20), np.bool_)
    mask[0, top : top + size, left : left + size] = True
    return mask


@given(masks, st.integers(1, 4))
def test_a_pixel_is_in_the_band_if_a_square_around_it_holds_fire_and_background(truth: Mask, band_px: int) -> None:
    for row, column in np.ndindex(truth[0].shape):
        around = truth[0, max(0, row - band_px) : row + band_px + 1, max(0, column - band_px) : column + band_px + 1]
        assert boundary_band(truth[0], band_px)[row, column] == (around.any() and not around.all())


@given(masks, masks)
def test_without_a_band_the_metrics_are_those_of_all_pixels(predicted: Mask, truth: Mask) -> None:
    metrics = Predictions(("a", "b", "c"), predicted, truth).metrics
    row = metrics_without_boundary(predicted, truth)[0]
    assert (row["excluded_px"], row["fire_px"]) == (0, truth.sum())
    assert all(row[name] == metrics[name] for name in ("fire_iou", "precision", "recall"))


def test_a_boundary_off_by_one_pixel_is_forgiven_and_a_missed_fire_is_not() -> None:
    shifted = metrics_without_boundary(block(6, 7), block(6, 6), [0, 1])
    assert shifted[0]["fire_iou"] == pytest.approx(56 / 72)
    assert shifted[1]["fire_iou"] == 1
    missed = metrics_without_boundary(np.zeros((1, 20, 20), np.bool_), block(6, 6), [0, 1])
    assert [row["fire_iou"] for row in missed] == [0, 0]
    assert [row["fire_px"] for row in missed] == [row["error_px"] for row in missed] == [64, 36]


def test_boundary_iou_shows_a_wrong_contour_that_the_area_hides() -> None:
    truth, grown = np.zeros((2, 1, 100, 100), np.bool_)
    truth[0, 20:80, 20:80] = grown[0, 18:82, 18:82] = True
    perfect, wrong = boundary_metrics(truth, truth), boundary_metrics(grown, truth)
    assert set(perfect.values()) == {1.0}
    whole, inner = metrics_without_boundary(grown, truth, [0, 1])
    assert whole["fire_iou"] > 0.85
    assert wrong == {"boundary_iou": 0, "fire_iou_without_boundary": inner["fire_iou"]}


def test_a_fire_no_thicker_than_the_band_is_excluded_whole() -> None:
    missed = metrics_without_boundary(np.zeros((1, 20, 20), np.bool_), block(6, 6, size=2), [0, 1])
    assert [(row["fire_iou"], row["fire_px"]) for row in missed] == [(0, 4), (1, 0)]


def test_a_block_of_eight_shifted_by_one_shares_seven_of_nine_columns_with_itself() -> None:
    assert shifted_truth_iou(block(6, 6)) == pytest.approx(7 / 9)
    assert shifted_truth_iou(block(6, 6), 2) == pytest.approx(6 / 10)
    # At the edge, the column that leaves the image does not count, and no column enters from the other side.
    assert shifted_truth_iou(block(0, 6)) == pytest.approx((56 + 56) / (64 + 72))


@given(masks)
def test_shifting_is_free_for_uniform_masks_and_symmetric(truth: Mask) -> None:
    assert shifted_truth_iou(np.ones_like(truth)) == shifted_truth_iou(np.zeros_like(truth)) == 1
    assert shifted_truth_iou(truth) == shifted_truth_iou(truth[:, ::-1, ::-1])
