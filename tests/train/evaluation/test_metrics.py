"""Metrics agree with their definitions on arbitrary masks and counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.images import Mask
from train.evaluation.metrics import (
    Counts,
    accuracy,
    agreement,
    background_iou,
    count,
    fire_iou,
    mean_iou,
    pooled,
    precision,
    recall,
    summarise,
)

RATIOS = (fire_iou, background_iou, mean_iou, accuracy, precision, recall)

pixels = st.integers(0, 10**6)
counts = st.builds(Counts, pixels, pixels, pixels, pixels)


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
    masks = hnp.arrays(np.bool_, shape)
    return draw(masks), draw(masks)


@given(mask_pairs())
def test_counts_agree_with_numpy(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    c = count(predicted, truth)
    assert c == Counts(
        tp=int((predicted & truth).sum()),
        fp=int((predicted & ~truth).sum()),
        fn=int((~predicted & truth).sum()),
        tn=int((~predicted & ~truth).sum()),
    )
    assert c.tp + c.fp + c.fn + c.tn == truth.size
    assert accuracy(c) == pytest.approx(float((predicted == truth).mean()))


@given(mask_pairs())
def test_metrics_of_equal_inverted_and_swapped_masks(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    assert [metric(count(truth, truth)) for metric in RATIOS] == [1] * len(RATIOS)
    c, swapped = count(predicted, truth), count(truth, predicted)
    assert background_iou(c) == fire_iou(count(~predicted, ~truth))
    assert precision(c) == recall(swapped)
    assert fire_iou(c) == fire_iou(swapped)


@given(st.lists(mask_pairs(), max_size=4))
@pytest.mark.slow
def test_agreement_is_symmetric_and_pooling_counts_all_pixels_at_once(pairs: list[tuple[Mask, Mask]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    assert agreement(first, second) == agreement(second, first)
    together = count(
        np.concatenate([a.ravel() for a in first] or [np.zeros(0, np.bool_)]),
        np.concatenate([b.ravel() for b in second] or [np.zeros(0, np.bool_)]),
    )
    assert pooled(count(a, b) for a, b in pairs) == together


def test_pooled_metrics_weigh_images_by_fire_area_and_per_image_metrics_do_not() -> None:
    large, small = Counts(tp=90, fp=0, fn=10, tn=0), Counts(tp=0, fp=0, fn=1, tn=99)
    metrics = summarise([large, small])
    assert metrics["fire_iou"] == pytest.approx(90 / 101)
    assert metrics["fire_iou_per_image"] == pytest.approx((0.9 + 0) / 2)
    assert metrics["mean_iou"] == pytest.approx((90 / 101 + 99 / 110) / 2)
    assert metrics["accuracy"] == pytest.approx(189 / 200)
    assert metrics["precision"] == 1
    assert metrics["recall"] == pytest.approx(90 / 101)


def test_edge_cases_without_fire_or_background() -> None:
    no_fire, false_alarm = Counts(tn=100), Counts(fp=1, tn=99)
    assert (fire_iou(no_fire), precision(no_fire), recall(no_fire)) == (1, 1, 1)
    assert summarise([no_fire, Counts(fn=5, tn=95)])["fire_iou_per_image"] == 0.5
    assert summarise([false_alarm])["fire_iou_per_image"] == 0
    assert mean_iou(Counts(tp=100)) == 1
    assert [metric(Counts()) for metric in RATIOS] == [1] * len(RATIOS)
    empty = [np.zeros((4, 4), np.bool_)]
    assert agreement(empty, empty) == 1


def test_masks_of_other_shapes_or_dtypes_are_refused_naming_them() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        count(np.zeros((2, 3), np.bool_), np.zeros((3, 2), np.bool_))
    with pytest.raises(ValueError, match="uint8"):  # & and | would count masks of 0 and 255 wrongly
        count(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.bool_))


def test_different_numbers_of_images_and_none_are_refused() -> None:
    mask = np.zeros((2, 2), np.bool_)
    with pytest.raises(ValueError):
        agreement([mask], [mask, mask])
    with pytest.raises(ValueError, match="at least one image"):
        summarise([])
