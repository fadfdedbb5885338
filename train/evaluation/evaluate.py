"""How good a model is on a split: every image judged once, at the model's resolution, by `train.evaluation.metrics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.images import Map
from edge.model.preprocess import to_model_mask
from train.data.fireseg import Pair
from train.evaluation.metrics import Counts, count, summarise
from train.model.io import Predictor

Masks = npt.NDArray[np.bool_]  # N x H x W
Histograms = npt.NDArray[np.int64]  # N x 2 x 256: pixels by truth and by level of the probability map
LEVELS = 256


@dataclass(frozen=True)
class Predictions:
    """What a model marked on each image, beside the truth; both N x height x width at the model's size.

    The histograms hold how sure it was: all that thresholds and reliability need, in a tenth of the maps' memory.
    """

    names: tuple[str, ...]
    masks: Masks
    truth: Masks
    histograms: Histograms | None = None

    def of(self, pairs: Sequence[Pair]) -> Predictions:
        """The part that concerns these pairs. Raises ValueError where one was not judged."""
        chosen = [self.names.index(pair.name) for pair in pairs]
        histograms = None if self.histograms is None else self.histograms[chosen]
        return Predictions(tuple(pair.name for pair in pairs), self.masks[chosen], self.truth[chosen], histograms)

    @property
    def per_image(self) -> list[Counts]:
        return [count(mask, truth) for mask, truth in zip(self.masks, self.truth, strict=True)]

    @property
    def metrics(self) -> dict[str, float]:
        return summarise(self.per_image)


def evaluate(predictor: Predictor, pairs: Sequence[Pair], on_progress: Callable[[], None] | None = None) -> Predictions:
    """Run the model on every pair. Raises `UserError` for a file that is broken."""
    shape = (len(pairs), predictor.height, predictor.width)
    masks, truths = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
    histograms = np.empty((len(pairs), 2, LEVELS), np.int64)
    for index, pair in enumerate(pairs):
        frame, truth = pair.read()
        levels = predictor(frame)
        np.greater_equal(levels, predictor.threshold_u8, out=masks[index])
        truths[index] = to_model_mask(truth, predictor.height, predictor.width)
        histograms[index] = histogram(levels, truths[index])
        if on_progress:
            on_progress()
    return Predictions(tuple(pair.name for pair in pairs), masks, truths, histograms)


def histogram(levels: Map, truth: npt.NDArray[np.bool_]) -> Histograms:
    """2 x 256: how many pixels of each level do not burn, and how many do."""
    by_both = np.bincount((levels + LEVELS * truth.astype(np.int64)).ravel(), minlength=2 * LEVELS)
    return by_both.reshape(2, LEVELS)


def rounded(metrics: dict[str, Any], digits: int = 4) -> dict[str, Any]:
    """For cards and tables: more digits than the data carry are noise in every diff."""
    return {key: round(value, digits) if isinstance(value, float) else value for key, value in metrics.items()}
