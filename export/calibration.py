"""Choose the calibration set: the training images from which the converter takes activation ranges.

Images are stratified by fire share and brightness, and drawn from every video. A test image never calibrates, whatever
its name: images are compared by content. The choice is written beside the model as a manifest.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import UserError
from edge.files import sha256
from edge.images import Frame, list_images, read_rgb
from edge.model.preprocess import to_model_input
from train.data.fireseg import Pair, map_pairs, printable_name
from train.data.splits import find_shared

# Strata: upper bounds of the share of fire pixels, and of the mean brightness in 0..255.
FIRE_SHARES = {"none": 0.0, "under 1 %": 0.01, "1 to 5 %": 0.05, "5 to 20 %": 0.2, "over 20 %": 1.0}
BRIGHTNESSES = {"dark": 70.0, "medium": 130.0, "bright": 255.0}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Candidate:
    """An image that may calibrate, with its strata."""

    name: str
    path: Path
    sha256: str
    video: str
    fire_share: str
    brightness: str


@dataclass(frozen=True)
class CalibrationSet:
    """The images chosen, in the order in which the converter reads them."""

    images: tuple[Candidate, ...]
    seed: int

    @property
    def sha256(self) -> str:
        """Hash of the contents in order: the same set gives the same model."""
        return hashlib.sha256("".join(image.sha256 for image in self.images).encode()).hexdigest()

    @property
    def coverage(self) -> dict[str, dict[str, int]]:
        """Number of images per stratum and per video."""
        return {
            "fire_share": _count((image.fire_share for image in self.images), (*FIRE_SHARES, UNKNOWN)),
            "brightness": _count((image.brightness for image in self.images), tuple(BRIGHTNESSES)),
            "videos": dict(sorted(Counter(image.video for image in self.images).items())),
        }

    def manifest(self) -> dict[str, Any]:
        """Return the set as JSON: its hash, seed, coverage and files."""
        files = [{key: value for key, value in asdict(image).items() if key != "path"} for image in self.images]
        facts = {"images": len(self.images), "sha256": self.sha256, "seed": self.seed, "coverage": self.coverage}
        return {**facts, "files": files}

    def frames(self, height: int, width: int) -> Frame:
        """Return all images at the model's size, N x height x width x 3 RGB bytes, spanning 0..255.

        The converter takes the input's scale from the range of these bytes. It is exactly 1 only if both 0 and 255
        occur, so two pixels of the first image are set to them if needed.
        """
        with ThreadPoolExecutor() as pool:
            frames = list(pool.map(lambda image: to_model_input(read_rgb(image.path), height, width), self.images))
        stacked = np.stack(frames)
        if stacked.min() > 0 or stacked.max() < 255:
            stacked[0, 0, 0], stacked[0, -1, -1] = 0, 255
        return stacked


def candidates_from_pairs(pairs: Sequence[Pair], on_progress: Callable[[], None] | None = None) -> list[Candidate]:
    """Return training pairs as candidates. Raises `UserErrors` that list and count the broken files."""

    def describe(pair: Pair) -> Candidate:
        frame, mask = pair.read()
        if on_progress:
            on_progress()
        share = _stratum(float(mask.mean()), FIRE_SHARES)
        return Candidate(pair.name, pair.image, sha256(pair.image), pair.video, share, _brightness(frame))

    return map_pairs(describe, pairs)


def candidates_from_folder(folder: Path) -> list[Candidate]:
    """Return a folder of images without masks as candidates, such as frames from your camera. Raises `UserError`."""
    if not folder.is_dir():
        raise UserError(f"calibration folder {folder} does not exist", "expected a folder of images")
    paths = list_images(folder)
    if not paths:
        raise UserError(f"calibration folder {folder} holds no images", "expected at least one .jpg or .png")
    return [
        Candidate(
            printable_name(path.name),
            path,
            sha256(path),
            printable_name(path.stem),
            UNKNOWN,
            _brightness(read_rgb(path)),
        )
        for path in paths
    ]


def choose(candidates: Sequence[Candidate], count: int, seed: int) -> CalibrationSet:
    """Choose `count` candidates round-robin over the strata, and over the videos within each; all if there are fewer.

    Equal contents count once. Raises `UserError` if there are none.

    Example:
        >>> frames = choose(candidates_from_pairs(split.train), count=200, seed=0).frames(224, 224)
    """
    if count < 1:
        raise UserError(f"{count} calibration images", "int8 needs at least 1; 100 to 500 are recommended")
    unique = list({candidate.sha256: candidate for candidate in sorted(candidates, key=lambda c: c.name)}.values())
    if not unique:
        raise UserError("there are no calibration images", "expected training images or a folder of images")
    random.Random(seed).shuffle(unique)
    cells = _grouped(unique, lambda image: (image.fire_share, image.brightness))
    strata = (_grouped(cells[stratum], lambda image: image.video) for stratum in sorted(cells))
    ordered = _round_robin(_round_robin(videos.values()) for videos in strata)
    return CalibrationSet(tuple(ordered[:count]), seed)


def assert_disjoint(calibration: Sequence[Candidate], test: Sequence[Pair]) -> None:
    """Raise `UserError` if a test image is among the calibration images, whatever its name."""
    if shared := find_shared(((image.name, image.sha256) for image in calibration), test):
        raise UserError(
            f"{len(shared)} calibration images are among the test images ({', '.join(shared[:3])})",
            "calibrate on training images, or the measured drift is too low",
        )


def _grouped(images: Iterable[Candidate], key: Callable[[Candidate], Any]) -> dict[Any, list[Candidate]]:
    groups: dict[Any, list[Candidate]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return groups


def _round_robin(groups: Iterable[Sequence[Candidate]]) -> list[Candidate]:
    return [image for turn in zip_longest(*groups) for image in turn if image]


def _stratum(value: float, bounds: dict[str, float]) -> str:
    return next(name for name, upper in bounds.items() if value <= upper)


def _brightness(frame: Frame) -> str:
    return _stratum(float(frame.mean()), BRIGHTNESSES)


def _count(values: Any, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(values)
    return {name: counts[name] for name in names if counts[name] or name != UNKNOWN}
