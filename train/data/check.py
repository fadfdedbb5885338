"""Describe a data set and everything wrong with it, for `fireseg-train check`."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from edge.files import sha256
from edge.images import CHECKS_JPEGS
from train.data.fireseg import Dataset, Pair, map_pairs
from train.data.masks import size
from train.download.checksums import shortened


class _Facts(NamedTuple):
    pair: Pair
    size: str
    fire_share: float
    border_share: float
    sha256: str


def check(dataset: Dataset, on_progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Open every file; return parts, leaks and warnings. Raises `UserErrors` that list and count every broken file."""

    def inspect(pair: Pair) -> _Facts:
        try:
            frame, mask = pair.read()
            border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            return _Facts(pair, size(frame), float(mask.mean()), float(border.mean()), sha256(pair.image))
        finally:
            on_progress()

    # Warnings are recorded for the whole process, worker threads included.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        facts = map_pairs(inspect, dataset.pairs)
    return {
        "root": str(dataset.root),
        "layout": dataset.layout,
        "parts": {part: _describe([fact for fact in facts if fact.pair.part == part]) for part in dataset.parts},
        "leaks": _leaks(dataset, facts),
        "warnings": [
            *_unchecked(dataset),
            *_suspicious_masks(facts),
            *sorted({str(warning.message) for warning in caught}),
        ],
    }


def _unchecked(dataset: Dataset) -> list[str]:
    """Return a warning if there are JPEGs and no library to recognise those that are damaged inside."""
    if CHECKS_JPEGS or not any(pair.image.suffix.lower() in (".jpg", ".jpeg") for pair in dataset.pairs):
        return []
    return ["JPEGs that are damaged inside are not recognised, since simplejpeg cannot be imported: install it"]


def _suspicious_masks(facts: list[_Facts]) -> list[str]:
    """Return warnings of masks that hold no fire, nothing but fire, or fire where the background should be."""
    masked = [fact for fact in facts if fact.pair.mask]
    all_fire = [fact.pair.name for fact in masked if fact.fire_share == 1]
    inverted = [fact.pair.name for fact in masked if 0.5 < fact.fire_share < 1 and fact.border_share > 0.9]
    lines = []
    if masked and not any(fact.fire_share for fact in masked):
        lines.append("every mask is empty: expected fire above 0 in the colours, or opaque where the colours are one")
    if all_fire:
        lines.append(
            f"{len(all_fire)} of {len(masked)} masks are fire everywhere ({shortened(all_fire)}): the background may "
            "be white, or the fire in another channel; expected a background of 0"
        )
    if inverted:
        lines.append(
            f"{len(inverted)} of {len(masked)} masks look inverted ({shortened(inverted)}): fire covers the border and "
            "most of the image; expected fire above 0 on a background of 0"
        )
    return lines


def _describe(facts: list[_Facts]) -> dict[str, Any]:
    return {
        "images": len(facts),
        "sizes": dict(Counter(fact.size for fact in facts).most_common()),
        "fire_share": round(float(np.mean([fact.fire_share for fact in facts])), 4),
        "empty_masks": [fact.pair.name for fact in facts if fact.fire_share == 0],
        "videos": dict(Counter(fact.pair.video for fact in facts)),
    }


def _leaks(dataset: Dataset, facts: list[_Facts]) -> dict[str, Any]:
    """Return the videos in both parts of the published split, and images with equal content."""
    videos = {part: {pair.video for pair in pairs} for part, pairs in dataset.parts.items()}
    images: dict[str, list[str]] = {}
    for fact in facts:
        images.setdefault(fact.sha256, []).append(fact.pair.name)
    return {
        "videos_in_train_and_test": sorted(videos.get("train", set()) & videos.get("test", set())),
        "identical_images": [names for names in images.values() if len(names) > 1],
    }
