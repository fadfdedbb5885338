"""Describe a data set and everything wrong with it, for `fireseg-train check`."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from edge.errors import UserError, UserErrors
from edge.files import sha256
from train.data.fireseg import Dataset, Pair


class _Facts(NamedTuple):
    pair: Pair
    size: str
    fire_share: float
    sha256: str


def check(dataset: Dataset, on_progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Open every file; return parts, leaks and warnings. Raises `UserErrors` listing every broken file."""

    def inspect(pair: Pair) -> _Facts | UserError:
        try:
            frame, mask = pair.read()
            return _Facts(pair, f"{frame.shape[1]}x{frame.shape[0]}", float(mask.mean()), sha256(pair.image))
        except UserError as error:
            return error
        finally:
            on_progress()

    # Warnings are recorded for the whole process, worker threads included.
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor() as pool:
        warnings.simplefilter("always")
        results = list(pool.map(inspect, dataset.pairs))
    if broken := [line for result in results if isinstance(result, UserError) for line in result.lines]:
        raise UserErrors(broken)
    facts = [result for result in results if isinstance(result, _Facts)]
    return {
        "root": str(dataset.root),
        "layout": dataset.layout,
        "parts": {part: _describe([fact for fact in facts if fact.pair.part == part]) for part in dataset.parts},
        "leaks": _leaks(dataset, facts),
        "warnings": sorted({str(warning.message) for warning in caught}),
    }


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
