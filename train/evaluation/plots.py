"""A model's pictures: its losses, phase by phase, what it marks on test images, and how sure it is of that."""

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
from edge.model.preprocess import to_model_input
from train.data.fireseg import Pair
from train.evaluation.evaluate import Predictions
from train.evaluation.metrics import count as count_pixels
from train.evaluation.metrics import fire_iou

PICTURES = {"frozen": "losses-training.png", "whole": "losses-fine-tuning.png", "settle": "losses-settling.png"}
TITLES = {
    "frozen": "training, encoder frozen",
    "whole": "fine-tuning, whole network",
    "settle": "settling, BatchNorm still",
}
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
            if f"val_{name}" in rows[0]:
                axis.plot(epochs, [row[f"val_{name}"] for row in rows], marker=".", label="validation videos")
            axis.set_xlabel("epoch")
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
            axis.legend()
        figure.suptitle(TITLES[phase])
        _save(figure, out / file)


def draw_predictions(pairs: Sequence[Pair], judgement: Predictions, path: Path, count: int = 12) -> None:
    """A grid of test images, evenly chosen: truth left, prediction right."""
    chosen = [index * len(pairs) // min(count, len(pairs)) for index in range(min(count, len(pairs)))]
    _draw_images(pairs, judgement, chosen, path, columns=3, frames=False)


def draw_worst(pairs: Sequence[Pair], judgement: Predictions, worst: Sequence[int], path: Path) -> None:
    """A grid of the images of these indices: the frame, the truth, the prediction with its fire IoU."""
    _draw_images(pairs, judgement, worst, path, columns=2, frames=True)


def draw_precision_recall(rows: Sequence[dict[str, float]], threshold: float, path: Path) -> None:
    """Precision over recall, and the fire IoU over the threshold, with the model's own threshold marked."""
    figure, (curve, over) = plt.subplots(1, 2, figsize=(10, 4))
    here = min(rows, key=lambda row: abs(row["threshold"] - threshold))
    for axis, x, y in ((curve, "recall", "precision"), (over, "threshold", "fire_iou")):
        axis.plot([row[x] for row in rows], [row[y] for row in rows])
        axis.plot(here[x], here[y], "o", color="tab:red", label=f"threshold {threshold:.2f}")
        axis.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend()
    _save(figure, path)


def draw_reliability(rows: Sequence[dict[str, float]], path: Path) -> None:
    """How many of the pixels of a predicted probability do burn; on the diagonal a probability means what it says."""
    figure, axis = plt.subplots(figsize=(5, 4.4))
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="what it says")
    axis.plot([row["predicted"] for row in rows], [row["burning"] for row in rows], marker="o", label="what is")
    axis.set(xlabel="predicted probability", ylabel="share that burns", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def _draw_images(
    pairs: Sequence[Pair], judgement: Predictions, chosen: Sequence[int], path: Path, *, columns: int, frames: bool
) -> None:
    rows, panels = -(-len(chosen) // columns), 3 if frames else 2
    figure, axes = plt.subplots(rows, columns * panels, figsize=(12, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, index in enumerate(chosen):
        height, width = judgement.masks[index].shape
        frame = to_model_input(pairs[index].read()[0], height, width)
        shown = {"truth": overlay(frame, judgement.truth[index]), "prediction": overlay(frame, judgement.masks[index])}
        if frames:
            iou = fire_iou(count_pixels(judgement.masks[index], judgement.truth[index]))
            shown = {"": frame, "truth": shown["truth"], f"prediction, {iou:.2f}": shown["prediction"]}
        row, column = divmod(number, columns)
        for panel, (label, picture) in enumerate(shown.items()):
            axis = axes[row, panels * column + panel]
            axis.imshow(picture)
            name = f"{judgement.names[index]}: " if panel == 0 else ""
            axis.set_title((name + label).removesuffix(": "), fontsize=7)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
