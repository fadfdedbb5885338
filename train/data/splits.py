"""Which pairs learn, which judge: by video or by group.

Neighbouring frames of a video are near copies; a split that puts one into training and one into the test flatters
every figure. FireSeg's published split does so for one video (v17): `official-clean` leaves it out of the test. The
split `random` does so for all of them, and says it in its name: it is there to compare with figures that others
reached in that way, and for nothing else.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edge.errors import UserError
from edge.files import sha256
from train.data.fireseg import Dataset, Pair, content_hash

SplitName = Literal["official", "official-clean", "by-video", "random"]
SPLIT_NAMES: tuple[str, ...] = get_args(SplitName)
FOLDS = 5
VALIDATION_SHARE = 0.15
LEAKING = "random by frame, leaking"
BY_VIDEO = re.compile(r"by-video fold (\d+) seed (\d+)")
RANDOM = re.compile(rf"{LEAKING}, seed (\d+)")


@dataclass(frozen=True)
class Split:
    """Pairs to learn from and pairs to judge by. `sha256` is the content hash of the judging pairs."""

    name: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def train_videos(self) -> set[str]:
        return {pair.video for pair in self.train}

    @property
    def sha256(self) -> str:
        return content_hash(self.test)


def make_split(dataset: Dataset, name: str, *, fold: int = 0, seed: int = 0) -> Split:
    """Split a data set. `fold` (0 to 4) matters to `by-video` alone, `seed` to `random` too. Raises `UserError`."""
    if name == "by-video":
        return _by_video(dataset, fold, seed)
    if name == "random":
        return _random(dataset, seed)
    if name not in SPLIT_NAMES:
        raise UserError(f"there is no split {name!r}", f"expected one of {', '.join(SPLIT_NAMES)}")
    parts = dataset.parts
    if "train" not in parts or "test" not in parts:
        raise UserError(
            f"{dataset.root} has no published train and test folders, which split {name} is made of",
            "use --split by-video",
        )
    train, test = parts["train"], parts["test"]
    if name == "official-clean":
        learnt_from = {pair.video for pair in train}
        test = [pair for pair in test if pair.video not in learnt_from]
    if not test:
        raise UserError(f"split {name} of {dataset.root} leaves no test images", "every test video is in training too")
    return Split(name, tuple(train), tuple(test))


def by_video_name(fold: int, seed: int) -> str:
    """As `BY_VIDEO` reads it."""
    return f"by-video fold {fold} seed {seed}"


def split_called(dataset: Dataset, name: str) -> Split:
    """The split that has this name, with its fold and seed, as `Split.name` tells them. Raises `UserError`."""
    if match := BY_VIDEO.fullmatch(name):
        return make_split(dataset, "by-video", fold=int(match[1]), seed=int(match[2]))
    if match := RANDOM.fullmatch(name):
        return make_split(dataset, "random", seed=int(match[1]))
    return make_split(dataset, name)


def with_clean(dataset: Dataset, split: Split) -> list[Split]:
    """The split, and beside `official` the same without its leak, where that leaves anything to judge by."""
    if split.name == "official" and any(pair.video not in split.train_videos for pair in split.test):
        return [split, make_split(dataset, "official-clean")]
    return [split]


def hold_out_videos(
    pairs: Sequence[Pair], *, seed: int, share: float = VALIDATION_SHARE
) -> tuple[list[Pair], list[Pair]]:
    """Keep whole videos for validation until they hold about `share` of the pairs. Returns (learn, validate).

    Raises `UserError` where there are not two videos to part. A share of 0 keeps none.
    """
    if not share:
        return list(pairs), []
    videos = _shuffled_videos(pairs, seed)
    if len(videos) < 2:
        raise UserError(
            f"validation needs whole videos of its own, but the data holds {len(videos)}", "expected 2 or more"
        )
    held: set[str] = set()
    count = 0
    for video in videos[:-1]:
        if count >= share * len(pairs):
            break
        held.add(video)
        count += sum(pair.video == video for pair in pairs)
    return [p for p in pairs if p.video not in held], [p for p in pairs if p.video in held]


def hold_out_fifth(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Keep about a fifth of the videos for testing. Returns (learn, test).

    The video's name alone decides, so that what is held out stays so whatever files come or go, and whatever the seed.
    """
    learn: list[Pair] = []
    test: list[Pair] = []
    for pair in pairs:
        fifth = int(hashlib.sha256(pair.video.encode()).hexdigest(), 16) % FOLDS
        (learn if fifth else test).append(pair)
    return learn, test


def find_shared(images: Iterable[tuple[str, str]], judging: Sequence[Pair]) -> list[str]:
    """Which of these images, by name and SHA-256, judge too, whatever they are called there: "name is name" each."""
    judged = {sha256(pair.image): pair.name for pair in judging}
    return [f"{name} is {judged[digest]}" for name, digest in images if digest in judged]


def _by_video(dataset: Dataset, fold: int, seed: int) -> Split:
    if not 0 <= fold < FOLDS:
        raise UserError(f"there is no fold {fold}", f"expected 0 to {FOLDS - 1}")
    videos = _shuffled_videos(dataset.pairs, seed)
    if len(videos) < FOLDS:
        raise UserError(f"split by-video needs at least {FOLDS} videos, but {dataset.root} holds {len(videos)}")
    held = set(videos[fold::FOLDS])
    return Split(
        by_video_name(fold, seed),
        tuple(pair for pair in dataset.pairs if pair.video not in held),
        tuple(pair for pair in dataset.pairs if pair.video in held),
    )


def _random(dataset: Dataset, seed: int) -> Split:
    """A fifth of the frames to judge by, whatever videos they are of."""
    pairs = sorted(dataset.pairs, key=lambda pair: pair.name)
    random.Random(seed).shuffle(pairs)
    count = max(1, len(pairs) // FOLDS)
    if count == len(pairs):
        raise UserError(f"split random needs at least 2 pairs, but {dataset.root} holds {len(pairs)}")
    return Split(f"{LEAKING}, seed {seed}", tuple(pairs[count:]), tuple(pairs[:count]))


def _shuffled_videos(pairs: Sequence[Pair], seed: int) -> list[str]:
    videos = sorted({pair.video for pair in pairs})
    random.Random(seed).shuffle(videos)
    return videos
