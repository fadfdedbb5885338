"""Plots of a model: losses by phase, predictions on test images, threshold and reliability curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge.files import replacing
from edge.images import overlay
from edge.model.preprocess import to_model_input
from train.data.fireseg import Pair
from train.evaluation.evaluate import Predictions
from train.evaluation.metrics import fire_iou

# Phase -> file and title of its losses.
LOSS_PLOTS = {
    "frozen": ("losses-training.png", "training, encoder frozen"),
    "finetune": ("losses-fine-tuning.png", "fine-tuning, whole network"),
    "bn_frozen": ("losses-bn-frozen.png", "fine-tuning, BatchNorm frozen"),
}
PREDICTIONS_FILE = "predictions.png"


def draw_losses(history: Sequence[dict[str, Any]], out: Path) -> None:
    """Plot each phase: loss and fire IoU of training and validation over the epochs."""
    for phase, (file, title) in LOSS_PLOTS.items():
        rows = [row for row in history if row["phase"] == phase]
        if not rows:
            continue
        epochs = [row["epoch"] for row in rows]
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
        for axis, name in zip(axes, ("loss", "fire_iou"), strict=True):
            for column, label in ((name, "training (augmented)"), (f"val_{name}", "validation videos")):
                if column in rows[0]:
                    axis.plot(epochs, [row[column] for row in rows], marker=".", label=label)
            _finish(axis, xlabel="epoch", ylabel=name)
        figure.suptitle(title)
        _save(figure, out / file)


def draw_predictions(pairs: Sequence[Pair], predictions: Predictions, path: Path, count: int = 12) -> None:
    """Draw `count` evenly spaced test images: ground truth left, prediction right."""
    count = min(count, len(pairs))
    draw_images(pairs, predictions, [index * len(pairs) // count for index in range(count)], path)


def draw_precision_recall(rows: Sequence[dict[str, float]], threshold: float, path: Path) -> None:
    """Plot precision over recall and fire IoU over the threshold, with the model's threshold highlighted."""
    figure, (curve, by_threshold) = plt.subplots(1, 2, figsize=(10, 4))
    current = min(rows, key=lambda row: abs(row["threshold"] - threshold))
    for axis, x, y in ((curve, "recall", "precision"), (by_threshold, "threshold", "fire_iou")):
        axis.plot([row[x] for row in rows], [row[y] for row in rows])
        axis.plot(current[x], current[y], "o", color="tab:red", label=f"threshold {threshold:.2f}")
        _finish(axis, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
    _save(figure, path)


def draw_reliability(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Plot the observed share of fire pixels over the predicted probability; a calibrated model is on the diagonal."""
    figure, axis = plt.subplots(figsize=(5, 4.4))
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1, label="calibrated")
    axis.plot([row["predicted"] for row in rows], [row["observed"] for row in rows], marker="o", label="model")
    _finish(axis, xlabel="predicted probability", ylabel="share of fire pixels", xlim=(0, 1), ylim=(0, 1))
    _save(figure, path)


def draw_images(
    pairs: Sequence[Pair], predictions: Predictions, chosen: Sequence[int], path: Path, *, frames: bool = False
) -> None:
    """Draw ground truth and prediction of the chosen indices; with `frames`, also the frame and the fire IoU."""
    columns, panels = (2, 3) if frames else (3, 2)
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns * panels, figsize=(12, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, index in enumerate(chosen):
        mask, truth = predictions.masks[index], predictions.truth[index]
        frame = to_model_input(pairs[index].read()[0], *mask.shape)
        name = predictions.names[index]
        images = {f"{name}: truth": overlay(frame, truth), "prediction": overlay(frame, mask)}
        if frames:
            iou = fire_iou(predictions.per_image[index])
            images = {name: frame, **dict(zip(("truth", f"prediction, {iou:.2f}"), images.values(), strict=True))}
        row, column = divmod(number, columns)
        for axis, (title, image) in zip(axes[row, panels * column :], images.items(), strict=False):
            axis.imshow(image)
            axis.set_title(title, fontsize=7, parse_math=False)
    _save(figure, path)


def _finish(axis: Axes, **properties: Any) -> None:
    axis.set(**properties)
    axis.grid(alpha=0.3)
    axis.legend()


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
