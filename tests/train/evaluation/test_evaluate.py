"""Judging: every image once, at the model's size, by the model's own threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import Frame, Map, write_image
from edge.model.preprocess import to_model_mask
from train.data.fireseg import Pair, load_dataset
from train.evaluation.evaluate import evaluate, histogram, rounded
from train.evaluation.metrics import summarise

SIDE_PX = 48


class Painter:
    """Knows the truth, since the images are paintings of their masks; `says` what it thinks of fire and of the rest."""

    def __init__(self, height: int, width: int, *, fire: int = 255, rest: int = 0, threshold_u8: int = 128) -> None:
        self.height, self.width, self.threshold_u8 = height, width, threshold_u8
        self.fire, self.rest = fire, rest

    def __call__(self, frame: Frame) -> Map:
        burning = to_model_mask(frame[..., 0] > 127, self.height, self.width)
        return np.where(burning, self.fire, self.rest).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, ...]:
    """Four images that burn more and more, the first not at all."""
    for number in range(4):
        mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        mask[: 6 * number] = 255
        write_image(tmp_path / "images" / f"f{number}.png", np.repeat(mask[..., None], 3, axis=2))
        write_image(tmp_path / "masks" / f"f{number}.png", mask)
    return load_dataset(tmp_path).pairs


@pytest.mark.parametrize(("height", "width"), [(SIDE_PX, SIDE_PX), (24, 36), (96, 64)])
def test_a_perfect_model_scores_1_everywhere_at_any_size(pairs: tuple[Pair, ...], height: int, width: int) -> None:
    judged = evaluate(Painter(height, width), pairs)
    assert judged.masks.shape == judged.truth.shape == (4, height, width)
    assert judged.names == ("f0", "f1", "f2", "f3")
    assert set(judged.metrics.values()) == {1.0}


def test_an_inverted_model_scores_0(pairs: tuple[Pair, ...]) -> None:
    metrics = evaluate(Painter(SIDE_PX, SIDE_PX, fire=0, rest=255), pairs).metrics
    assert metrics == dict.fromkeys(metrics, 0.0)


def test_a_blind_model_is_right_about_the_image_without_fire_alone(pairs: tuple[Pair, ...]) -> None:
    metrics = evaluate(Painter(SIDE_PX, SIDE_PX, fire=0), pairs).metrics
    assert metrics["fire_iou"] == metrics["recall"] == 0
    assert metrics["fire_iou_per_image"] == 0.25
    assert metrics["accuracy"] == pytest.approx(1 - (6 + 12 + 18) / (4 * SIDE_PX))


@pytest.mark.parametrize(("threshold_u8", "iou"), [(128, 1.0), (129, 0.0), (100, 1.0)])
def test_fire_is_what_reaches_the_models_threshold(pairs: tuple[Pair, ...], threshold_u8: int, iou: float) -> None:
    assert evaluate(Painter(32, 32, fire=128, rest=99, threshold_u8=threshold_u8), pairs).metrics["fire_iou"] == iou


def test_a_threshold_below_the_background_calls_everything_fire(pairs: tuple[Pair, ...]) -> None:
    judged = evaluate(Painter(32, 32, fire=128, rest=99, threshold_u8=99), pairs)
    assert judged.masks.all()
    assert judged.metrics["recall"] == 1


def test_the_metrics_are_those_of_the_counts_image_by_image(pairs: tuple[Pair, ...]) -> None:
    judged = evaluate(Painter(32, 32, fire=0), pairs)
    assert len(judged.per_image) == 4
    assert judged.per_image[0].tn == 32 * 32
    assert judged.metrics == summarise(judged.per_image)


def test_what_was_sure_of_which_pixels_is_counted_image_by_image(pairs: tuple[Pair, ...]) -> None:
    judged = evaluate(Painter(32, 32, fire=200, rest=3), pairs)
    assert judged.histograms is not None and judged.histograms.shape == (4, 2, 256)
    assert (judged.histograms.sum(axis=(1, 2)) == 32 * 32).all()
    for found, counts in zip(judged.histograms, judged.per_image, strict=True):
        assert (found[1, 200], found[0, 3]) == (counts.tp, counts.tn)
    chosen = judged.of(pairs[1:3])
    assert chosen.histograms is not None and (chosen.histograms == judged.histograms[1:3]).all()


def test_a_histogram_keeps_levels_and_truth_apart_at_both_ends() -> None:
    levels = np.array([[0, 0, 255], [255, 7, 7]], np.uint8)
    found = histogram(levels, np.array([[True, False, True], [False, True, True]]))
    assert found.sum() == 6
    assert (found[0, 0], found[0, 255], found[1, 0], found[1, 255], found[1, 7]) == (1, 1, 1, 1, 2)


def test_progress_is_told_once_an_image(pairs: tuple[Pair, ...]) -> None:
    steps: list[None] = []
    evaluate(Painter(32, 32), pairs, on_progress=lambda: steps.append(None))
    assert len(steps) == 4


def test_a_broken_image_is_named(pairs: tuple[Pair, ...]) -> None:
    pairs[2].image.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"f2\.png is not a readable image"):
        evaluate(Painter(32, 32), pairs)


def test_rounding_touches_only_fractions() -> None:
    assert rounded({"fire_iou": 0.123456, "images": 100, "sha256": "ab"}) == {
        "fire_iou": 0.1235,
        "images": 100,
        "sha256": "ab",
    }
    assert rounded({"fire_iou": 0.123456}, 6) == {"fire_iou": 0.123456}
