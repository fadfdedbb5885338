"""Metrics against their definitions, on masks and counts of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from train.evaluation.metrics import (
    Counts,
    Mask,
    accuracy,
    agreement,
    background_iou,
    count,
    fire_iou,
    fire_iou_per_image,
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


@given(counts)
def test_every_metric_lies_between_0_and_1(c: Counts) -> None:
    for metric in RATIOS:
        assert 0 <= metric(c) <= 1, metric.__name__


@given(mask_pairs())
def test_counts_are_those_of_numpy(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    c = count(predicted, truth)
    assert c == Counts(
        tp=int((predicted & truth).sum()),
        fp=int((predicted & ~truth).sum()),
        fn=int((~predicted & truth).sum()),
        tn=int((~predicted & ~truth).sum()),
    )
    assert c.tp + c.fp + c.fn + c.tn == truth.size


@given(mask_pairs())
def test_accuracy_is_the_share_of_pixels_that_are_right(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    assert accuracy(count(predicted, truth)) == pytest.approx(float((predicted == truth).mean()))


@given(mask_pairs())
def test_a_mask_judged_by_itself_is_perfect(masks: tuple[Mask, Mask]) -> None:
    mask, _ = masks
    c = count(mask, mask)
    for metric in RATIOS:
        assert metric(c) == 1, metric.__name__


@given(mask_pairs())
def test_background_iou_is_the_fire_iou_of_the_inverted_masks(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    assert background_iou(count(predicted, truth)) == fire_iou(count(~predicted, ~truth))


@given(mask_pairs())
def test_swapping_prediction_and_truth_swaps_precision_and_recall(masks: tuple[Mask, Mask]) -> None:
    predicted, truth = masks
    there, back = count(predicted, truth), count(truth, predicted)
    assert precision(there) == recall(back)
    assert fire_iou(there) == fire_iou(back)


@given(st.lists(mask_pairs(), max_size=4))
def test_agreement_does_not_depend_on_which_model_comes_first(pairs: list[tuple[Mask, Mask]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    assert agreement(first, second) == agreement(second, first)


@given(st.lists(mask_pairs(), max_size=4))
def test_pooling_is_counting_all_pixels_at_once(pairs: list[tuple[Mask, Mask]]) -> None:
    together = count(
        np.concatenate([a.ravel() for a, _ in pairs] or [np.zeros(0, np.bool_)]),
        np.concatenate([b.ravel() for _, b in pairs] or [np.zeros(0, np.bool_)]),
    )
    assert pooled(count(a, b) for a, b in pairs) == together


def test_pooled_metrics_weigh_images_by_their_fire_and_per_image_metrics_do_not() -> None:
    large, small = Counts(tp=90, fp=0, fn=10, tn=0), Counts(tp=0, fp=0, fn=1, tn=99)
    figures = summarise([large, small])
    assert figures["fire_iou"] == pytest.approx(90 / 101)
    assert figures["fire_iou_per_image"] == pytest.approx((0.9 + 0) / 2)
    assert figures["mean_iou"] == pytest.approx((90 / 101 + 99 / 110) / 2)
    assert figures["accuracy"] == pytest.approx(189 / 200)
    assert figures["precision"] == 1
    assert figures["recall"] == pytest.approx(90 / 101)


def test_no_fire_predicted_and_none_present_counts_1() -> None:
    nothing = Counts(tn=100)
    assert (fire_iou(nothing), precision(nothing), recall(nothing)) == (1, 1, 1)
    assert fire_iou_per_image([nothing, Counts(fn=5, tn=95)]) == 0.5


def test_a_false_alarm_on_an_image_without_fire_counts_0() -> None:
    assert fire_iou_per_image([Counts(fp=1, tn=99)]) == 0


def test_background_of_a_frame_that_burns_all_over_counts_1() -> None:
    assert mean_iou(Counts(tp=100)) == 1


def test_counting_no_pixels_finds_nothing_wrong() -> None:
    assert [metric(Counts()) for metric in RATIOS] == [1] * len(RATIOS)


def test_two_models_that_mark_nothing_agree() -> None:
    nothing = [np.zeros((4, 4), np.bool_)]
    assert agreement(nothing, nothing) == 1


def test_masks_of_different_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        count(np.zeros((2, 3), np.bool_), np.zeros((3, 2), np.bool_))


def test_masks_that_are_not_boolean_are_refused() -> None:
    # uint8 masks of 0/255 would be counted wrongly by & and |.
    with pytest.raises(ValueError, match="uint8"):
        count(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.bool_))


def test_agreement_over_different_numbers_of_images_is_refused() -> None:
    one = np.zeros((2, 2), np.bool_)
    with pytest.raises(ValueError):
        agreement([one], [one, one])


def test_a_summary_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        summarise([])
