"""Two models' masks compared: the same masks have no drift, and a known change gives hand-worked numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.files import sha256
from export.drift import compare, worst_images
from tests.support.run_export import Run
from train.data.fireseg import content_hash
from train.data.sources import find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions

Masks = npt.NDArray[np.bool_]


def predictions(masks: Masks, truth: Masks) -> Predictions:
    return Predictions(tuple(f"img({number})" for number in range(len(masks))), masks, truth)


def random_masks(rng: np.random.Generator, images: int, share: float = 0.4) -> Masks:
    return rng.random((images, 6, 8)) < share


def flipped(rng: np.random.Generator, masks: Masks, share: float) -> Masks:
    """The masks with some pixels inverted."""
    return masks ^ (rng.random(masks.shape) < share)


image_counts = st.integers(1, 12)
seeds = st.integers(0, 10_000)


@given(image_counts, seeds, st.floats(0, 1))
def test_a_model_has_not_drifted_from_itself(images: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    same = predictions(random_masks(rng, images, share), random_masks(rng, images))
    drift = compare(same, same)
    assert set(drift.metrics.values()) == {0.0}
    assert drift.fire_iou_interval == (0.0, 0.0)
    assert drift.agreement == 1.0
    assert set(drift.per_image.values()) == {1.0}
    assert list(drift.per_image_fire_iou.values()) == [0.0] * images


def test_a_known_example_gives_hand_worked_numbers() -> None:
    truth = np.zeros((2, 2, 4), np.bool_)
    truth[0, 0] = True  # 4 fire pixels on the first image, none on the second
    float_masks, int8_masks = truth.copy(), truth.copy()
    float_masks[0, 0, 3] = False  # float: 3 of 4 detected
    int8_masks[0, 0, 2:] = False  # int8: 2 of 4 detected, and one false positive on the second image
    int8_masks[1, 0, 0] = True
    drift = compare(predictions(float_masks, truth), predictions(int8_masks, truth))
    assert drift.metrics["fire_iou"] == pytest.approx(2 / 5 - 3 / 4)
    assert drift.metrics["mean_iou"] == pytest.approx((2 / 5 + 11 / 14) / 2 - (3 / 4 + 12 / 13) / 2)
    assert drift.metrics["fire_iou_per_image"] == pytest.approx((2 / 4 + 0) / 2 - (3 / 4 + 1) / 2)
    assert drift.metrics["accuracy"] == pytest.approx(13 / 16 - 15 / 16)
    assert drift.metrics["precision"] == pytest.approx(2 / 3 - 1)
    assert drift.metrics["recall"] == pytest.approx(2 / 4 - 3 / 4)
    assert drift.agreement == pytest.approx(2 / 4)
    assert drift.per_image == {"img(0)": pytest.approx(2 / 3), "img(1)": 0.0}
    assert drift.per_image_fire_iou == {"img(0)": -0.25, "img(1)": -1.0}


def test_the_interval_of_two_images_spans_their_four_draws() -> None:
    # One image lost everything, the other nothing: draws give -1, -0.5 and 0 at 1 : 2 : 1.
    truth = np.ones((2, 3, 3), np.bool_)
    lost = truth.copy()
    lost[0] = False
    low, high = compare(predictions(truth, truth), predictions(lost, truth)).fire_iou_interval
    assert (low, high) == (-1.0, 0.0)


def test_the_interval_nearly_always_contains_the_measured_difference() -> None:
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = random_masks(rng, 25)
        a = predictions(flipped(rng, truth, 0.1), truth)
        b = predictions(flipped(rng, truth, 0.15), truth)
        drift = compare(a, b)
        low, high = drift.fire_iou_interval
        held += low <= drift.metrics["fire_iou"] <= high
    assert held >= 57


def test_a_clear_loss_has_an_interval_below_zero_but_noise_does_not() -> None:
    rng = np.random.default_rng(0)
    truth = random_masks(rng, 30)
    good = predictions(flipped(rng, truth, 0.1), truth)
    alike = predictions(flipped(rng, truth, 0.1), truth)
    bad = predictions(flipped(rng, truth, 0.4), truth)
    assert compare(good, bad).fire_iou_interval[1] < 0
    low, high = compare(good, alike).fire_iou_interval
    assert low < 0 < high


def test_images_without_any_fire_agree_completely() -> None:
    nothing = predictions(np.zeros((3, 4, 4), np.bool_), np.zeros((3, 4, 4), np.bool_))
    drift = compare(nothing, nothing)
    assert (drift.metrics["fire_iou"], drift.agreement, drift.fire_iou_interval) == (0.0, 1.0, (0.0, 0.0))


def test_the_worst_images_have_the_most_changed_pixels_worst_first() -> None:
    a = np.zeros((4, 5, 5), np.bool_)
    b = a.copy()
    b[1].flat[:3] = True
    b[3].flat[:20] = True
    b[2].flat[:3] = True
    pair = predictions(a, a), predictions(b, a)
    assert worst_images(*pair, count=3) == [3, 1, 2]  # ties keep their order
    assert worst_images(*pair, count=99) == [3, 1, 2, 0]


def test_predictions_for_different_images_or_sizes_are_not_compared() -> None:
    small, large = np.zeros((2, 4, 4), np.bool_), np.zeros((2, 8, 8), np.bool_)
    with pytest.raises(ValueError, match="same images at one size"):
        compare(predictions(small, small), predictions(large, large))
    with pytest.raises(ValueError, match="same images"):
        compare(predictions(small, small), Predictions(("img(1)", "img(0)"), small, small))


@pytest.mark.slow
def test_drift_and_export_warn_of_a_model_that_was_trained_on_the_test_images(
    run_here: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copy(toy_keras, tmp_path / "toy.keras"))
    trained = make_split(find_data(synthetic_dir).dataset, "by-video", fold=1)
    data = {"split": trained.name, "sets": [{"sha256": content_hash(trained.train)}]}
    model.with_suffix(".json").write_text(json.dumps({"sha256": sha256(model), "data": data}))
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    warning = "toy.keras was trained or validated on"
    for fold in (1, 2):
        split = "--data", synthetic_dir, "--split", "by-video", "--fold", str(fold)
        compared = run_here("drift", toy_keras, model, *split)  # the second model's card counts too
        assert compared.returncode == 0
        assert compared.stderr.count(warning) == (fold == 2)
        refused = run_here("all", "--model", model, *split, "--out", in_the_way / "out")
        assert refused.returncode == 2
        assert (warning in refused.stderr) == (fold == 2)
