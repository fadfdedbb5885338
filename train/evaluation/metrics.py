"""Segmentation metrics: count pixels first; every metric is a pure function of the counts.

Pooled metrics add the counts of all images before dividing, so that a large fire weighs more than a small one;
`fire_iou_per_image` weighs every image alike. A ratio whose denominator is 0 is 1: there was nothing to get wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.images import Mask

MAIN_METRICS = ("fire_iou", "mean_iou", "fire_iou_per_image", "accuracy")  # shown in tables


@dataclass(frozen=True)
class Counts:
    """Pixels by truth and prediction: true/false positives and negatives. Counts can be added."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def count(predicted: Mask, truth: Mask) -> Counts:
    """Count the pixels of two boolean masks of one shape. Raises ValueError for other shapes or dtypes."""
    if predicted.shape != truth.shape or predicted.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(
            f"expected two boolean masks of one shape, got {predicted.dtype} {predicted.shape} "
            f"and {truth.dtype} {truth.shape}"
        )
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, predicted.size - tp - fp - fn)


def pooled(counts: Iterable[Counts]) -> Counts:
    """Return the sum of the counts."""
    return sum(counts, Counts())


def fire_iou(c: Counts) -> float:
    return _ratio(c.tp, c.tp + c.fp + c.fn)


def background_iou(c: Counts) -> float:
    return _ratio(c.tn, c.tn + c.fp + c.fn)


def mean_iou(c: Counts) -> float:
    """Return the mean of fire and background IoU, as Keras' `BinaryIoU` does by default."""
    return (fire_iou(c) + background_iou(c)) / 2


def accuracy(c: Counts) -> float:
    return _ratio(c.tp + c.tn, c.tp + c.fp + c.fn + c.tn)


def precision(c: Counts) -> float:
    return _ratio(c.tp, c.tp + c.fp)


def recall(c: Counts) -> float:
    return _ratio(c.tp, c.tp + c.fn)


def fire_metrics(c: Counts) -> dict[str, float]:
    """Return the metrics of the fire class by name."""
    return {"fire_iou": fire_iou(c), "precision": precision(c), "recall": recall(c)}


def summarise(per_image: Sequence[Counts]) -> dict[str, float]:
    """Return every metric by name. Raises ValueError for no images."""
    if not per_image:
        raise ValueError("expected the counts of at least one image, got none")
    total = pooled(per_image)
    return {
        "fire_iou": fire_iou(total),
        "mean_iou": mean_iou(total),
        "fire_iou_per_image": sum(map(fire_iou, per_image)) / len(per_image),
        "accuracy": accuracy(total),
        "precision": precision(total),
        "recall": recall(total),
    }


def agreement(masks_a: Iterable[Mask], masks_b: Iterable[Mask]) -> float:
    """Return the fire IoU of two models' masks, pooled over images: 1 if they predict the same pixels."""
    return fire_iou(pooled(count(a, b) for a, b in zip(masks_a, masks_b, strict=True)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
