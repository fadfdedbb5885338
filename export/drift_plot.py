"""Plot the images on which int8 differs most from the Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
import numpy as np

from edge.files import replacing
from edge.images import overlay
from edge.model.preprocess import to_model_input
from export.drift import worst_images
from train.data.fireseg import Pair
from train.evaluation.evaluate import Predictions

COLUMNS = ("frame", "ground truth", "float", "int8", "difference\nblue: lost, orange: added")
LOST_RGB, ADDED_RGB = (0, 120, 255), (255, 140, 0)


def plot_worst(path: Path, pairs: Sequence[Pair], reference: Predictions, int8: Predictions, count: int = 6) -> None:
    """Plot the `count` images whose masks differ in most pixels, one row each, into the PNG `path`."""
    worst = worst_images(reference, int8, count)
    figure, axes = plt.subplots(len(worst), len(COLUMNS), figsize=(11, 2.15 * len(worst)), squeeze=False)
    for row, index in zip(axes, worst, strict=True):
        height, width = reference.masks[index].shape
        frame = to_model_input(pairs[index].read()[0], height, width)
        difference = (frame // 3).astype(np.uint8)
        difference[reference.masks[index] & ~int8.masks[index]] = LOST_RGB
        difference[int8.masks[index] & ~reference.masks[index]] = ADDED_RGB
        masks = (reference.truth[index], reference.masks[index], int8.masks[index])
        for axis, image in zip(row, (frame, *(overlay(frame, mask) for mask in masks), difference), strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        changed = np.count_nonzero(reference.masks[index] != int8.masks[index])
        row[0].set_ylabel(f"{reference.names[index]}\n{changed} px", fontsize=8)
    for axis, heading in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(heading, fontsize=8, parse_math=False)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
