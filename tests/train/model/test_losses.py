"""Cross-entropy plus Dice: what it costs to be right, wrong, and unsure."""

from __future__ import annotations

import math

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from train.model.losses import BCEDice

Maps = npt.NDArray[np.float32]  # N x H x W x 1


def half_burning(count: int = 2, side_px: int = 16) -> Maps:
    truth = np.zeros((count, side_px, side_px, 1), np.float32)
    truth[:, : side_px // 2] = 1
    return truth


def loss(truth: Maps, predicted: Maps, smooth_px: float = 1.0) -> float:
    return float(BCEDice(smooth_px)(truth, predicted))


def test_a_perfect_prediction_costs_nothing() -> None:
    truth = half_burning()
    assert loss(truth, truth) == pytest.approx(0, abs=1e-5)


def test_an_empty_mask_that_is_left_empty_costs_nothing() -> None:
    empty = np.zeros((2, 16, 16, 1), np.float32)
    assert loss(empty, empty) == pytest.approx(0, abs=1e-5)


def test_fire_where_there_is_none_costs_dice_too() -> None:
    empty = np.zeros((1, 16, 16, 1), np.float32)
    unsure = np.full_like(empty, 0.1)
    assert loss(empty, unsure) > 0.9


def test_everything_wrong_costs_far_more_than_being_unsure() -> None:
    truth = half_burning()
    unsure = np.full_like(truth, 0.5)
    assert loss(truth, 1 - truth) > 10 > 2 > loss(truth, unsure) > 1


def test_the_loss_of_two_pixels_is_what_a_hand_computes() -> None:
    truth = np.array([1, 0], np.float32).reshape(1, 1, 2, 1)
    predicted = np.array([0.8, 0.4], np.float32).reshape(1, 1, 2, 1)
    cross_entropy = -(math.log(0.8) + math.log(0.6)) / 2
    dice = (2 * 0.8 + 1) / (1 + 0.8 + 0.4 + 1)
    assert loss(truth, predicted) == pytest.approx(cross_entropy + 1 - dice, rel=1e-5)
    dice_of_3 = (2 * 0.8 + 3) / (1 + 0.8 + 0.4 + 3)
    assert loss(truth, predicted, smooth_px=3.0) == pytest.approx(cross_entropy + 1 - dice_of_3, rel=1e-5)


def test_dice_pools_the_batch_so_that_an_image_without_fire_costs_only_what_is_called_fire_in_it() -> None:
    truth = half_burning(2)
    truth[1] = 0
    predicted = truth.copy()
    predicted[0, 0, 0] = 0.5  # the same small mistake, beside an image with no fire
    alone, together = loss(truth[:1], predicted[:1]), loss(truth, predicted)
    assert together == pytest.approx(alone, rel=0.5)
    assert together < 0.02


def test_a_missed_flame_costs_more_the_larger_it_is() -> None:
    costs = []
    for rows in (1, 4, 8):
        truth = np.zeros((1, 16, 16, 1), np.float32)
        truth[:, :rows] = 1
        costs.append(loss(truth, np.full_like(truth, 0.01)))
    assert costs == sorted(costs)


@pytest.mark.parametrize("sure", [0.0, 1.0])
@pytest.mark.parametrize("burning", [0.0, 1.0])
def test_the_gradient_is_finite_where_the_sigmoid_saturates(sure: float, burning: float) -> None:
    truth = tf.fill((1, 4, 4, 1), burning)
    predicted = tf.Variable(tf.fill((1, 4, 4, 1), sure))
    with tf.GradientTape() as tape:
        value = BCEDice()(truth, predicted)
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, predicted).numpy()).all()


def test_truth_may_come_as_integers() -> None:
    truth, predicted = half_burning(), np.full((2, 16, 16, 1), 0.3, np.float32)
    assert float(BCEDice()(truth.astype(np.uint8), predicted)) == pytest.approx(loss(truth, predicted))


def test_a_saved_model_finds_its_loss_again() -> None:
    again = keras.losses.deserialize(keras.losses.serialize(BCEDice(smooth_px=2.5)))
    assert isinstance(again, BCEDice)
    assert again.get_config() == BCEDice(smooth_px=2.5).get_config()
    truth, predicted = half_burning(), np.full((2, 16, 16, 1), 0.3, np.float32)
    assert float(again(truth, predicted)) == pytest.approx(loss(truth, predicted, smooth_px=2.5))
