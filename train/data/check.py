"""What a data set holds, and what is wrong with it: `fireseg-train check`."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import UserError, UserErrors
from edge.files import sha256
from train.data.fireseg import Dataset, Pair


@dataclass(frozen=True)
class _Look:
    """What opening one pair showed."""

    pair: Pair
    size: str
    fire_share: float
    sha256: str


def check(dataset: Dataset, on_progress: Callable[[], None] | None = None) -> dict[str, Any]:
    """Open every file and describe the set. Raises `UserError` listing everything that is broken, at once."""
    # Warnings are collected for the whole process, which worker threads share.
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor() as pool:
        warnings.simplefilter("always")

        def look(pair: Pair) -> _Look | UserError:
            try:
                frame, mask = pair.read()
            except UserError as error:
                return error
            finally:
                if on_progress:
                    on_progress()
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            return _Look(pair, size, float(mask.mean()), sha256(pair.image))

        seen = list(pool.map(look, dataset.pairs))
    broken = [message for item in seen if isinstance(item, UserError) for message in item.lines]
    if broken:
        raise UserErrors(broken)
    looks = [item for item in seen if isinstance(item, _Look)]
    return {
        "root": str(dataset.root),
        "layout": dataset.layout,
        "parts": {part: _part(looks, part) for part in dataset.parts},
        "leaks": _leaks(dataset, looks),
        "warnings": sorted({str(warning.message) for warning in caught}),
    }


def _part(looks: list[_Look], part: str) -> dict[str, Any]:
    chosen = [look for look in looks if look.pair.part == part]
    sizes = Counter(look.size for look in chosen)
    return {
        "images": len(chosen),
        "sizes": dict(sizes.most_common()),
        "fire_share": round(float(np.mean([look.fire_share for look in chosen])), 4),
        "empty_masks": [look.pair.name for look in chosen if look.fire_share == 0],
        "videos": dict(Counter(look.pair.video for look in chosen)),
    }


def _leaks(dataset: Dataset, looks: list[_Look]) -> dict[str, Any]:
    """What stands on both sides of the published split: videos, and images of one content."""
    videos = {part: {pair.video for pair in pairs} for part, pairs in dataset.parts.items()}
    images: dict[str, list[str]] = {}
    for look in looks:
        images.setdefault(look.sha256, []).append(look.pair.name)
    return {
        "videos_in_train_and_test": sorted(videos.get("train", set()) & videos.get("test", set())),
        "identical_images": [names for names in images.values() if len(names) > 1],
    }
