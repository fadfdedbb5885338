"""Compare two models' masks on the same images: pooled, per image, and with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.evaluation.evaluate import Predictions, rounded
from train.evaluation.metrics import Counts, agreement, fire_iou

BOOTSTRAP_DRAWS = 2000
INTERVAL = 0.95


@dataclass(frozen=True)
class Drift:
    """Differences of model B from model A, as B minus A, in 0..1."""

    metrics: dict[str, float]
    fire_iou_interval: tuple[float, float]
    """95 % bootstrap interval of the pooled fire IoU's difference over images."""
    agreement: float
    per_image: dict[str, float]
    """Each image's agreement, by name."""
    per_image_fire_iou: dict[str, float]
    """Each image's difference of fire_iou, by name."""

    def rounded(self, digits: int) -> dict[str, Any]:
        """Return the pooled values, rounded, by name."""
        interval = [round(bound, digits) for bound in self.fire_iou_interval]
        pooled = {**self.metrics, "agreement": self.agreement}
        return {**rounded(pooled, digits), "fire_iou_interval": interval}


def compare(a: Predictions, b: Predictions, *, seed: int = 0) -> Drift:
    """Return the drift of B from A. Raises ValueError if they are not predictions for the same images at one size.

    Example:
        >>> drift = compare(evaluate(float_model, pairs), evaluate(int8_model, pairs))
        >>> drift.metrics["fire_iou"], drift.agreement
    """
    if a.names != b.names or a.masks.shape != b.masks.shape:
        shapes = f"{a.masks.shape} and {b.masks.shape}"
        raise ValueError(f"expected predictions for the same images at one size, got {shapes}")
    metrics_b, counts = b.metrics, zip(a.names, a.per_image, b.per_image, strict=True)
    return Drift(
        metrics={name: metrics_b[name] - value for name, value in a.metrics.items()},
        fire_iou_interval=bootstrap_difference(a.per_image, b.per_image, seed=seed),
        agreement=agreement(a.masks, b.masks),
        per_image={name: agreement([a.masks[i]], [b.masks[i]]) for i, name in enumerate(a.names)},
        per_image_fire_iou={name: fire_iou(of_b) - fire_iou(of_a) for name, of_a, of_b in counts},
    )


def bootstrap_difference(
    a: list[Counts], b: list[Counts], *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS
) -> tuple[float, float]:
    """Return the 95 % percentile interval of fire_iou(B) - fire_iou(A), resampling images, the same for both."""
    drawn = np.random.default_rng(seed).integers(len(a), size=(draws, len(a)))
    difference = _pooled_fire_iou(b, drawn) - _pooled_fire_iou(a, drawn)
    low, high = np.quantile(difference, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def worst_images(a: Predictions, b: Predictions, count: int) -> list[int]:
    """Return the indices of the images whose masks differ in most pixels, worst first."""
    differing = np.count_nonzero(a.masks != b.masks, axis=(1, 2))
    return [int(index) for index in np.argsort(-differing, kind="stable")[:count]]


def _pooled_fire_iou(counts: list[Counts], drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    overlap = np.array([c.tp for c in counts])[drawn].sum(axis=1)
    union = np.array([c.tp + c.fp + c.fn for c in counts])[drawn].sum(axis=1)
    return np.where(union > 0, overlap / np.maximum(union, 1), 1.0)
