"""Cross-entropy plus Dice: the loss of right, wrong and uncertain predictions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from train.model.losses import TEMPERATURE, BCEDice, sharpen

Maps = npt.NDArray[np.float32]  # N x H x W x 1


def half_fire(count: int = 2, side_px: int = 16) -> Maps:
    truth = np.zeros((count, side_px, side_px, 1), np.float32)
    truth[:, : side_px // 2] = 1
    return truth


def loss(truth: Maps, predicted: Maps, smooth_px: float = 1.0) -> float:
    return float(BCEDice(smooth_px)(truth, predicted))


def test_a_perfect_prediction_costs_nothing_with_or_without_fire() -> None:
    for truth in (half_fire(), np.zeros((2, 16, 16, 1), np.float32)):
        assert loss(truth, truth) == pytest.approx(0, abs=1e-5)


def test_a_wrong_prediction_costs_far_more_than_an_uncertain_one() -> None:
    truth, empty = half_fire(), np.zeros((1, 16, 16, 1), np.float32)
    assert loss(truth, 1 - truth) > 10 > 2 > loss(truth, np.full_like(truth, 0.5)) > 1
    assert loss(empty, np.full_like(empty, 0.1)) > 0.9, "dice counts in an empty image too"


def sharpened_by_hand(probability: float) -> float:
    fire, background = probability**TEMPERATURE, (1 - probability) ** TEMPERATURE
    return fire / (fire + background)


def test_the_loss_of_two_pixels_is_computed_by_hand() -> None:
    truth = np.array([1, 0], np.float32).reshape(1, 1, 2, 1)
    predicted = np.array([0.8, 0.4], np.float32).reshape(1, 1, 2, 1)
    fire, background = sharpened_by_hand(0.8), sharpened_by_hand(0.4)
    cross_entropy = -(math.log(fire) + math.log(1 - background)) / 2
    for smooth_px in (1.0, 3.0):
        dice = (2 * fire + smooth_px) / (1 + fire + background + smooth_px)
        assert loss(truth, predicted, smooth_px) == pytest.approx(cross_entropy + 1 - dice, rel=1e-5)


def test_dice_is_pooled_so_that_an_image_without_fire_costs_only_its_false_positives() -> None:
    truth = half_fire(2)
    truth[1] = 0
    predicted = truth.copy()
    predicted[0, 0, 0] = 0.5  # the same small error, beside an image without fire
    alone, together = loss(truth[:1], predicted[:1]), loss(truth, predicted)
    assert together == pytest.approx(alone, rel=0.5)
    assert together < 0.02


def false_alarm(pixels: int) -> tuple[Maps, Maps]:
    """An image with fire and one without, in which some pixels are predicted as fire."""
    truth = half_fire(2, 64)
    truth[1] = 0
    predicted = truth.copy()
    predicted[1, 0, :pixels] = 0.9
    return truth, predicted


def test_a_small_false_alarm_in_an_image_without_fire_costs_what_its_weight_says() -> None:
    truth, predicted = false_alarm(20)  # 0.5 % of 64 x 64
    plain, weighted = (float(BCEDice(negative_weight=weight)(truth, predicted)) for weight in (0.0, 0.5))
    assert plain < 0.03
    cost = -math.log(1 - sharpened_by_hand(0.9))
    assert weighted - plain == pytest.approx(0.5 * cost / 2, rel=1e-3), "half of the batch has no fire"


@given(st.floats(0, 1), st.floats(0, 1))
def test_sharpening_moves_probabilities_away_from_a_half_and_keeps_their_order(first: float, second: float) -> None:
    sharp_first, sharp_second = (float(sharpen(np.float32(value))) for value in (first, second))
    assert abs(sharp_first - 0.5) >= abs(first - 0.5) - 1e-6
    assert (sharp_first - 0.5) * (first - 0.5) >= -1e-6
    assert (sharp_first - sharp_second) * (first - second) >= -1e-6


def test_sharpening_multiplies_the_logit_by_the_temperature() -> None:
    assert float(sharpen(np.float32(0.8))) == pytest.approx(sharpened_by_hand(0.8), rel=1e-5)


def test_the_weight_of_negatives_changes_nothing_where_there_is_fire_or_no_false_alarm() -> None:
    truth, predicted = false_alarm(0)
    predicted[0, 0] = 0.2  # missed in the image with fire
    plain, weighted = (float(BCEDice(negative_weight=weight)(truth, predicted)) for weight in (0.0, 9.0))
    assert weighted == pytest.approx(plain, abs=1e-5)


def test_a_loss_is_restored_from_its_configuration() -> None:
    restored = BCEDice.from_config(BCEDice(2.0, negative_weight=0.5).get_config())
    assert (restored.smooth_px, restored.negative_weight) == (2.0, 0.5)


@pytest.mark.parametrize("probability", [0.0, 1.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_gradient_is_finite_where_the_sigmoid_saturates(probability: float, label: float) -> None:
    truth = tf.fill((1, 4, 4, 1), label)
    predicted = tf.Variable(tf.fill((1, 4, 4, 1), probability))
    with tf.GradientTape() as tape:
        value = BCEDice()(truth, predicted)
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, predicted).numpy()).all()
