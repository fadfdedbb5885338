"""The calibration set: which training images show the converter the range of every activation.

Dark and bright scenes, no fire, small and large fires are all in, from as many videos as there are; never an image
that judges the model, by content and not by name. What was chosen is written beside the model as a manifest.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import UserError
from edge.files import sha256
from edge.images import Frame, list_images, read_rgb
from edge.model.preprocess import to_model_input
from train.data.fireseg import Pair
from train.data.splits import find_shared

# Upper bounds of the share of burning pixels, and of the mean brightness in 0..255, that make the strata.
FIRE_SHARES = {"none": 0.0, "under 1 %": 0.01, "1 to 5 %": 0.05, "5 to 20 %": 0.2, "over 20 %": 1.0}
BRIGHTNESSES = {"dark": 70.0, "medium": 130.0, "bright": 255.0}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Candidate:
    """An image that may calibrate, and the strata it lies in."""

    name: str
    path: Path
    sha256: str
    video: str
    fire_share: str
    brightness: str


@dataclass(frozen=True)
class CalibrationSet:
    """The images chosen, in the order the converter sees them."""

    images: tuple[Candidate, ...]
    seed: int

    @property
    def sha256(self) -> str:
        """Hash of the contents in their order: the same set gives the same model."""
        return hashlib.sha256("".join(image.sha256 for image in self.images).encode()).hexdigest()

    @property
    def coverage(self) -> dict[str, dict[str, int]]:
        """How many images lie in each stratum."""
        return {
            "fire_share": _count((image.fire_share for image in self.images), (*FIRE_SHARES, UNKNOWN)),
            "brightness": _count((image.brightness for image in self.images), tuple(BRIGHTNESSES)),
            "videos": dict(sorted(Counter(image.video for image in self.images).items())),
        }

    def manifest(self) -> dict[str, Any]:
        """Everything needed to choose the same set again, or to see what was in it."""
        files = [{key: value for key, value in asdict(image).items() if key != "path"} for image in self.images]
        return {
            "images": len(self.images),
            "sha256": self.sha256,
            "seed": self.seed,
            "coverage": self.coverage,
            "files": files,
        }

    def frames(self, height: int, width: int) -> Frame:
        """All images at the model's size: N x height x width x 3 RGB bytes, spanning the whole of 0..255.

        The converter takes the input's scale from the bytes it sees; it is exactly 1 only if both 0 and 255 are among
        them, and two pixels of the first image make sure of that.
        """
        with ThreadPoolExecutor() as pool:
            frames = list(pool.map(lambda image: to_model_input(read_rgb(image.path), height, width), self.images))
        stacked = np.stack(frames)
        if stacked.min() > 0 or stacked.max() < 255:
            stacked[0, 0, 0], stacked[0, -1, -1] = 0, 255
        return stacked

    def halves(self) -> tuple[CalibrationSet, CalibrationSet]:
        """Two disjoint sets, alike in coverage: every other image of each stratum and video."""
        ordered = sorted(self.images, key=lambda image: (image.fire_share, image.brightness, image.video, image.sha256))
        chosen = set(ordered[::2])
        first = tuple(image for image in self.images if image in chosen)  # in turn from each stratum, as before
        second = tuple(image for image in self.images if image not in chosen)
        return CalibrationSet(first, self.seed), CalibrationSet(second, self.seed)


def candidates_from_pairs(pairs: Sequence[Pair], on_progress: Callable[[], None] | None = None) -> list[Candidate]:
    """Describe training pairs as candidates. Raises `UserError` for a file that is broken."""

    def describe(pair: Pair) -> Candidate:
        frame, mask = pair.read()
        if on_progress:
            on_progress()
        share = _stratum(float(mask.mean()), FIRE_SHARES)
        return Candidate(pair.name, pair.image, sha256(pair.image), pair.video, share, _brightness(frame))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(describe, pairs))


def candidates_from_folder(folder: Path) -> list[Candidate]:
    """Describe a folder of pictures without masks, such as frames of one's own camera. Raises `UserError`."""
    if not folder.is_dir():
        raise UserError(f"calibration folder {folder} does not exist", "expected a folder of pictures")
    found = [
        Candidate(path.name, path, sha256(path), path.stem, UNKNOWN, _brightness(read_rgb(path)))
        for path in list_images(folder)
    ]
    if not found:
        raise UserError(f"calibration folder {folder} holds no pictures", "expected at least one .jpg or .png")
    return found


def choose(candidates: Sequence[Candidate], count: int, seed: int) -> CalibrationSet:
    """Take `count` candidates, in turn from each stratum of fire and brightness, and there in turn from each video.

    All of them are taken where there are fewer. Equal contents count once. Raises `UserError` for none.
    """
    if count < 1:
        raise UserError(f"{count} calibration images", "int8 needs at least 1, and 100 to 500 to be sound")
    unique = list({candidate.sha256: candidate for candidate in sorted(candidates, key=lambda c: c.name)}.values())
    if not unique:
        raise UserError("there are no calibration images", "expected training images or a folder of pictures")
    random.Random(seed).shuffle(unique)
    cells: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in unique:
        cells.setdefault((candidate.fire_share, candidate.brightness), []).append(candidate)
    ordered = _in_turn([_in_turn(_by_video(cells[key])) for key in sorted(cells)])
    return CalibrationSet(tuple(ordered[:count]), seed)


def assert_disjoint(calibration: Sequence[Candidate], judging: Sequence[Pair]) -> None:
    """Raise `UserError` where an image that judges is among those that calibrate, whatever their names."""
    shared = find_shared(((image.name, image.sha256) for image in calibration), judging)
    if shared:
        raise UserError(
            f"{len(shared)} calibration images are among the test images ({', '.join(shared[:3])})",
            "calibrate on training images, or the measured drift flatters the model",
        )


def _by_video(images: Sequence[Candidate]) -> list[list[Candidate]]:
    videos: dict[str, list[Candidate]] = {}
    for image in images:
        videos.setdefault(image.video, []).append(image)
    return list(videos.values())


def _in_turn(groups: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """One of each group, then another of each, until all are out."""
    longest = max(map(len, groups))
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def _stratum(value: float, bounds: dict[str, float]) -> str:
    return next(name for name, upper in bounds.items() if value <= upper)


def _brightness(frame: Frame) -> str:
    return _stratum(float(frame.mean()), BRIGHTNESSES)


def _count(values: Any, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(values)
    return {name: counts[name] for name in names if counts[name] or name != UNKNOWN}
