"""Evaluation: every image once, at the model's resolution, by the model's own threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import Frame, Map, write_image
from edge.model.preprocess import to_model_mask
from train.data.fireseg import Pair, load_dataset
from train.evaluation.evaluate import Masks, evaluate, histogram
from train.evaluation.metrics import summarise

SIDE_PX = 48


class Oracle:
    """Reads the truth off the images, which show their masks, and returns the levels `fire` and `background`."""

    def __init__(
        self, height: int, width: int, *, fire: int = 255, background: int = 0, threshold_u8: int = 128
    ) -> None:
        self.height, self.width, self.threshold_u8 = height, width, threshold_u8
        self.fire, self.background = fire, background

    def __call__(self, frame: Frame) -> Map:
        truth = to_model_mask(frame[..., 0] > 127, self.height, self.width)
        return np.where(truth, self.fire, self.background).astype(np.uint8)

    def mask(self, frame: Frame) -> Masks:
        raise AssertionError("evaluation runs the model once an image")


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, ...]:
    """Four images with increasing fire area, the first without fire."""
    for number in range(4):
        mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        mask[: 6 * number] = 255
        write_image(tmp_path / "images" / f"f{number}.png", np.repeat(mask[..., None], 3, axis=2))
        write_image(tmp_path / "masks" / f"f{number}.png", mask)
    return load_dataset(tmp_path).pairs


@pytest.mark.parametrize(("height", "width"), [(SIDE_PX, SIDE_PX), (24, 36), (96, 64)])
def test_a_perfect_model_scores_1_at_any_resolution(pairs: tuple[Pair, ...], height: int, width: int) -> None:
    steps: list[None] = []
    predictions = evaluate(Oracle(height, width), pairs, on_progress=lambda: steps.append(None))
    assert predictions.masks.shape == predictions.truth.shape == (4, height, width)
    assert predictions.names == ("f0", "f1", "f2", "f3")
    assert set(predictions.metrics.values()) == {1.0}
    assert len(steps) == 4


@pytest.mark.parametrize("zoom", [2, 3])
def test_tiles_are_evaluated_as_the_detector_cuts_them(pairs: tuple[Pair, ...], zoom: int) -> None:
    predictions = evaluate(Oracle(SIDE_PX, SIDE_PX), pairs, zoom=zoom)
    assert predictions.names == tuple(pair.name for pair in pairs for _ in range(zoom**2))
    assert len(predictions.masks) == 4 * zoom**2
    assert predictions.metrics["fire_iou"] > 0.9
    tiles = predictions.truth.reshape(4, zoom, zoom, SIDE_PX, SIDE_PX)
    assert tiles[1, 0].any() and not tiles[1, -1].any(), "fire is in the top row alone"
    assert predictions.of(pairs[1:2]).names == ("f1",) * zoom**2


def test_an_inverted_model_scores_0_and_a_blind_one_is_right_without_fire_only(pairs: tuple[Pair, ...]) -> None:
    inverted = evaluate(Oracle(SIDE_PX, SIDE_PX, fire=0, background=255), pairs).metrics
    assert set(inverted.values()) == {0.0}
    blind = evaluate(Oracle(SIDE_PX, SIDE_PX, fire=0), pairs)
    assert blind.metrics["fire_iou"] == blind.metrics["recall"] == 0
    assert blind.metrics["fire_iou_per_image"] == 0.25
    assert blind.metrics["accuracy"] == pytest.approx(1 - (6 + 12 + 18) / (4 * SIDE_PX))
    assert blind.metrics == summarise(blind.per_image)


@pytest.mark.parametrize(("threshold_u8", "iou"), [(100, 1.0), (128, 1.0), (129, 0.0), (99, 0.1875)])
def test_fire_is_at_or_above_the_models_threshold(pairs: tuple[Pair, ...], threshold_u8: int, iou: float) -> None:
    oracle = Oracle(SIDE_PX, SIDE_PX, fire=128, background=99, threshold_u8=threshold_u8)
    assert evaluate(oracle, pairs).metrics["fire_iou"] == iou


def test_histograms_count_each_image_and_follow_a_choice_of_pairs(pairs: tuple[Pair, ...]) -> None:
    predictions = evaluate(Oracle(32, 32, fire=200, background=3), pairs)
    assert predictions.histograms is not None and predictions.histograms.shape == (4, 2, 256)
    assert (predictions.histograms.sum(axis=(1, 2)) == 32 * 32).all()
    for levels, counts in zip(predictions.histograms, predictions.per_image, strict=True):
        assert (levels[1, 200], levels[0, 3]) == (counts.tp, counts.tn)
    chosen = predictions.of(pairs[1:3])
    assert chosen.histograms is not None and (chosen.histograms == predictions.histograms[1:3]).all()


def test_a_histogram_keeps_levels_and_truth_apart_at_both_ends() -> None:
    levels = np.array([[0, 0, 255], [255, 7, 7]], np.uint8)
    counts = histogram(levels, np.array([[True, False, True], [False, True, True]]))
    assert counts.sum() == 6
    assert (counts[0, 0], counts[0, 255], counts[1, 0], counts[1, 255], counts[1, 7]) == (1, 1, 1, 1, 2)


def test_all_broken_files_are_listed_and_counted(pairs: tuple[Pair, ...]) -> None:
    for pair in pairs[1:3]:
        pair.image.write_bytes(b"")
    steps: list[None] = []
    with pytest.raises(UserError) as caught:
        evaluate(Oracle(SIDE_PX, SIDE_PX), pairs, on_progress=lambda: steps.append(None))
    first, second, count = caught.value.lines
    assert "f1.png is not a readable image" in first and "f2.png" in second
    assert count == "2 of 4 images cannot be used: repair or remove them"
