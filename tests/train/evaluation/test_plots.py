"""Plots of a training and of an evaluation: complete, legible and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
    LOSS_PLOTS,
    draw_images,
    draw_losses,
    draw_predictions,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_figure_stays_open() -> Iterator[None]:
    yield
    assert plt.get_fignums() == []


@pytest.fixture
def pairs(synthetic_dir: Path) -> tuple[Pair, ...]:
    return load_dataset(synthetic_dir).pairs[:4]


def history(*phases: str) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "epoch": number + 1}
        | dict.fromkeys(("loss", "val_loss"), 1 / (number + 1))
        | dict.fromkeys(("fire_iou", "val_fire_iou"), number / 10)
        for number, phase in enumerate(phases)
    ]


def predict(pairs: tuple[Pair, ...], *, right: bool) -> Predictions:
    truth = np.stack([to_model_mask(pair.read()[1], 48, 64) for pair in pairs])
    return Predictions(tuple(pair.name for pair in pairs), truth if right else ~truth, truth)


def test_each_phase_with_epochs_gets_a_plot_of_its_losses(tmp_path: Path) -> None:
    draw_losses(history("frozen", "frozen", "bn_frozen"), tmp_path)
    files = {LOSS_PLOTS[phase][0] for phase in ("frozen", "bn_frozen")}
    assert {path.name for path in tmp_path.iterdir()} == files
    for file in files:
        image = read_rgb(tmp_path / file)
        assert image.shape[0] > 300 and image.shape[1] > 900
        assert image.std() > 5, "the plot is blank"


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (99, 2)])
def test_predictions_are_shown_beside_the_truth(pairs: tuple[Pair, ...], tmp_path: Path, count: int, rows: int) -> None:
    images = []
    for right in (True, False):
        draw_predictions(pairs, predict(pairs, right=right), tmp_path / "predictions.png", count=count)
        images.append(read_rgb(tmp_path / "predictions.png").astype(int))
    assert images[0].shape[1] > 1000
    assert 150 * rows < images[0].shape[0] < 300 * rows
    assert np.abs(images[0] - images[1]).mean() > 1, "a wrong prediction looks unlike a right one"


def test_the_worst_images_are_shown_with_their_frames(pairs: tuple[Pair, ...], tmp_path: Path) -> None:
    sizes = []
    for worst in ([1], [3, 0, 2]):
        draw_images(pairs, predict(pairs, right=False), worst, tmp_path / "worst.png", frames=True)
        sizes.append(read_rgb(tmp_path / "worst.png").shape)
    single, several = sizes
    assert single[1] == several[1] > 1000
    assert several[0] > 1.8 * single[0], "two images per row"


def test_a_name_with_dollars_is_no_formula(pairs: tuple[Pair, ...], tmp_path: Path) -> None:
    named = tuple(replace(pair, name=rf"cam$\x_{pair.name}$") for pair in pairs)
    draw_predictions(named, predict(named, right=True), tmp_path / "predictions.png")
    assert read_rgb(tmp_path / "predictions.png").shape[1] > 1000
