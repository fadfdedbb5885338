"""A training's pictures: its losses, phase by phase, and what the model marks on test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from edge.files import replacing
from edge.images import overlay
from edge.preprocess import to_model_input
from train.evaluate import Judgement
from train.fireseg import Pair

PICTURES = {"frozen": "losses-training.png", "whole": "losses-fine-tuning.png"}
TITLES = {"frozen": "training, encoder frozen", "whole": "fine-tuning, whole network"}
PREDICTIONS_FILE = "predictions.png"


def draw_losses(history: Sequence[dict[str, Any]], out: Path) -> None:
    """One picture a phase: the loss and the fire IoU of training and validation over the epochs."""
    for phase, file in PICTURES.items():
        rows = [row for row in history if row["phase"] == phase]
        if not rows:
            continue
        epochs = [row["epoch"] for row in rows]
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
        for axis, name in zip(axes, ("loss", "fire_iou"), strict=True):
            axis.plot(epochs, [row[name] for row in rows], marker=".", label="training (augmented)")
            axis.plot(epochs, [row[f"val_{name}"] for row in rows], marker=".", label="validation videos")
            axis.set_xlabel("epoch")
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
            axis.legend()
        figure.suptitle(TITLES[phase])
        _save(figure, out / file)


def draw_predictions(pairs: Sequence[Pair], judgement: Judgement, path: Path, count: int = 12) -> None:
    """A grid of test images, evenly chosen: truth left, prediction right."""
    chosen = [index * len(pairs) // min(count, len(pairs)) for index in range(min(count, len(pairs)))]
    columns = 3
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns * 2, figsize=(12, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, index in enumerate(chosen):
        height, width = judgement.masks[index].shape
        frame = to_model_input(pairs[index].read()[0], height, width)
        row, column = divmod(number, columns)
        for axis, mask, label in zip(
            axes[row, 2 * column : 2 * column + 2],
            (judgement.truth[index], judgement.masks[index]),
            (f"{judgement.names[index]}: truth", "prediction"),
            strict=True,
        ):
            axis.imshow(overlay(frame, mask))
            axis.set_title(label, fontsize=7)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
