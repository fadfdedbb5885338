"""The pictures of a training: they appear, whole, at a size that can be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from edge.images import read_rgb
from edge.model.preprocess import to_model_mask
from train.data.fireseg import Pair, load_dataset
from train.evaluation.evaluate import Predictions
from train.evaluation.plots import (
    PICTURES,
    PREDICTIONS_FILE,
    draw_losses,
    draw_precision_recall,
    draw_predictions,
    draw_reliability,
    draw_worst,
)


def history(*phases: str) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "epoch": number + 1}
        | dict.fromkeys(("loss", "val_loss"), 1 / (number + 1))
        | dict.fromkeys(("fire_iou", "val_fire_iou"), number / 10)
        for number, phase in enumerate(phases)
    ]


def judged(pairs: tuple[Pair, ...], *, right: bool) -> Predictions:
    truth = np.stack([to_model_mask(pair.read()[1], 48, 64) for pair in pairs])
    return Predictions(tuple(pair.name for pair in pairs), truth if right else ~truth, truth)


def test_each_phase_gets_a_picture_of_its_losses(tmp_path: Path) -> None:
    draw_losses(history("frozen", "frozen", "whole", "settle"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(PICTURES.values())
    for file in PICTURES.values():
        picture = read_rgb(tmp_path / file)
        assert picture.shape[0] > 300 and picture.shape[1] > 900
        assert picture.std() > 5, "it is not blank"


def test_a_phase_without_epochs_gets_no_picture(tmp_path: Path) -> None:
    draw_losses(history("whole"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PICTURES["whole"]]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_predictions_are_shown_beside_the_truth(synthetic_dir: Path, tmp_path: Path, count: int) -> None:
    pairs = load_dataset(synthetic_dir).pairs
    draw_predictions(pairs, judged(pairs, right=True), tmp_path / PREDICTIONS_FILE, count=count)
    picture = read_rgb(tmp_path / PREDICTIONS_FILE)
    rows = -(-count // 3)
    assert picture.shape[1] > 1000
    assert 150 * rows < picture.shape[0] < 300 * rows
    assert picture.std() > 5


def test_fewer_images_than_places_are_shown_once_each(synthetic_dir: Path, tmp_path: Path) -> None:
    pairs = load_dataset(synthetic_dir).pairs[:2]
    draw_predictions(pairs, judged(pairs, right=True), tmp_path / PREDICTIONS_FILE)
    assert read_rgb(tmp_path / PREDICTIONS_FILE).shape[0] < 300


def test_a_wrong_prediction_looks_unlike_a_right_one(synthetic_dir: Path, tmp_path: Path) -> None:
    pairs = load_dataset(synthetic_dir).pairs[:3]
    for name, right in (("right", True), ("wrong", False)):
        draw_predictions(pairs, judged(pairs, right=right), tmp_path / name / PREDICTIONS_FILE)
    right_one, wrong_one = (read_rgb(tmp_path / name / PREDICTIONS_FILE) for name in ("right", "wrong"))
    assert np.abs(right_one.astype(int) - wrong_one).mean() > 2


def test_no_figure_stays_open(synthetic_dir: Path, tmp_path: Path) -> None:
    pairs = load_dataset(synthetic_dir).pairs[:1]
    draw_losses(history("frozen", "whole"), tmp_path)
    draw_predictions(pairs, judged(pairs, right=True), tmp_path / PREDICTIONS_FILE)
    assert plt.get_fignums() == []


def test_the_worst_images_are_shown_with_their_frames(synthetic_dir: Path, tmp_path: Path) -> None:
    pairs = load_dataset(synthetic_dir).pairs[:4]
    for name, worst in (("one", [1]), ("all", [3, 0, 2])):
        draw_worst(pairs, judged(pairs, right=False), worst, tmp_path / f"{name}.png")
    one, several = (read_rgb(tmp_path / f"{name}.png") for name in ("one", "all"))
    assert one.shape[1] == several.shape[1] > 1000
    assert several.shape[0] > 1.8 * one.shape[0], "two of them stand in a row"
    assert plt.get_fignums() == []


def test_curves_are_drawn(tmp_path: Path) -> None:
    rows = [
        {"threshold": at / 10, "precision": 0.5 + at / 20, "recall": 1 - at / 10, "fire_iou": 0.4} for at in range(10)
    ]
    draw_precision_recall(rows, 0.5, tmp_path / "pr.png")
    draw_reliability([{"predicted": 0.1, "burning": 0.2}, {"predicted": 0.9, "burning": 0.7}], tmp_path / "rel.png")
    for name in ("pr.png", "rel.png"):
        picture = read_rgb(tmp_path / name)
        assert picture.shape[0] > 300 and picture.std() > 5
    assert plt.get_fignums() == []
