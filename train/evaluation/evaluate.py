"""Run a model on the images of a split and score it by `train.evaluation.metrics`, at the model's resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.detection.views import WHOLE, tile_input, tiles_of
from edge.errors import UserError
from edge.images import Map
from edge.model.preprocess import to_model_mask
from train.data.fireseg import Pair, refuse_broken
from train.evaluation.metrics import Counts, count, summarise
from train.model.io import Predictor

Masks = npt.NDArray[np.bool_]  # N x H x W
Histograms = npt.NDArray[np.int64]  # N x 2 x 256: pixels by truth and by level of the probability map
LEVELS = 256


@dataclass(frozen=True)
class Predictions:
    """A model's masks beside the ground truth, both N x height x width at the model's resolution.

    The histograms are all that threshold and reliability curves need, in a tenth of the maps' memory.
    """

    names: tuple[str, ...]
    masks: Masks
    truth: Masks
    histograms: Histograms | None = None

    def of(self, pairs: Sequence[Pair]) -> Predictions:
        """Return the predictions of these pairs. Raises ValueError if one was not evaluated."""
        places: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            places.setdefault(name, []).append(at)
        if missing := [pair.name for pair in pairs if pair.name not in places]:
            raise ValueError(f"{missing[0]} was not evaluated")
        chosen = [at for pair in pairs for at in places[pair.name]]
        histograms = None if self.histograms is None else self.histograms[chosen]
        return Predictions(tuple(self.names[at] for at in chosen), self.masks[chosen], self.truth[chosen], histograms)

    @cached_property
    def per_image(self) -> list[Counts]:
        return [count(mask, truth) for mask, truth in zip(self.masks, self.truth, strict=True)]

    @cached_property
    def metrics(self) -> dict[str, float]:
        return summarise(self.per_image)


def evaluate(
    predictor: Predictor, pairs: Sequence[Pair], on_progress: Callable[[], None] = lambda: None, *, zoom: int = 1
) -> Predictions:
    """Run the model on every pair, or on each of its zoom x zoom tiles, as the detector cuts them.

    Raises `UserErrors` that list and count the broken files.

    Example:
        >>> evaluate(load_predictor(Path("best.keras")), split.test).metrics["fire_iou"]
    """
    views, size = tiles_of(zoom) if zoom > 1 else (WHOLE,), (predictor.height, predictor.width)
    shape = (len(pairs) * len(views), *size)
    masks, truths = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
    histograms = np.empty((len(masks), 2, LEVELS), np.int64)
    broken: list[UserError] = []
    for index, pair in enumerate(pairs):
        try:
            frame, truth = pair.read()
        except UserError as error:
            broken.append(error)
        if broken:
            continue  # the rest is only read, to list all at once
        for at, view in enumerate(views, start=index * len(views)):
            levels = predictor(frame if view == WHOLE else tile_input(frame, view, size))
            np.greater_equal(levels, predictor.threshold_u8, out=masks[at])  # `mask` would run the model again
            truths[at] = to_model_mask(truth[view.pixels(*truth.shape)], *size)
            histograms[at] = histogram(levels, truths[at])
        on_progress()
    refuse_broken(broken, len(pairs))
    return Predictions(tuple(pair.name for pair in pairs for _ in views), masks, truths, histograms)


def histogram(levels: Map, truth: Masks) -> Histograms:
    """Return 2 x 256 pixel counts: background and fire pixels at each level."""
    level_and_truth = (levels + LEVELS * truth.astype(np.int64)).ravel()
    return np.bincount(level_and_truth, minlength=2 * LEVELS).reshape(2, LEVELS)


def rounded(metrics: dict[str, Any], digits: int = 4) -> dict[str, Any]:
    """Round the fractions: more digits are noise in every diff of a card."""
    return {key: round(value, digits) if isinstance(value, float) else value for key, value in metrics.items()}
