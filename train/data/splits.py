"""Split a data set into training and test pairs, by video or by group.

Neighbouring frames of a video are near copies, so a video in both parts inflates every metric. FireSeg's published
split has one such video (v17), which `official-clean` leaves out of the test. The split `random` leaks all of them; it
serves comparisons with published results only.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge.errors import UserError
from edge.files import sha256
from train.data.fireseg import Dataset, Pair, content_hash

SPLIT_NAMES = ("official", "official-clean", "by-video", "random")
FOLDS = 5
VALIDATION_SHARE = 0.15
MAX_VALIDATION_SHARE = 0.5
LEAKING = "random by frame, leaking"
BY_VIDEO = re.compile(r"by-video fold (\d+) seed (\d+)")
RANDOM = re.compile(rf"{LEAKING}, seed (\d+)")


@dataclass(frozen=True)
class Split:
    """Training and test pairs. `sha256` is the content hash of the test pairs."""

    name: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def sha256(self) -> str:
        return content_hash(self.test)


def make_split(dataset: Dataset, name: str, *, fold: int = 0, seed: int = 0) -> Split:
    """Split a data set. `fold` (0 to 4) applies to `by-video`, `seed` to `by-video` and `random`. Raises `UserError`.

    Example:
        >>> split = make_split(load_dataset(Path("data/fireseg")), "official-clean")
        >>> len(split.train), len(split.test)
        (500, 90)
    """
    if name == "by-video":
        if not 0 <= fold < FOLDS:
            raise UserError(f"there is no fold {fold}", f"expected 0 to {FOLDS - 1}")
        videos = _shuffled_videos(dataset.pairs, seed)
        if len(videos) < FOLDS:
            raise UserError(
                f"split by-video needs at least {FOLDS} videos, but {dataset.root} holds {len(videos)}", "add videos"
            )
        train, test = _partition(dataset.pairs, set(videos[fold::FOLDS]))
        return Split(by_video_name(fold, seed), tuple(train), tuple(test))
    if name == "random":
        pairs = sorted(dataset.pairs, key=lambda pair: pair.name)
        random.Random(seed).shuffle(pairs)
        count = max(1, len(pairs) // FOLDS)
        if count == len(pairs):
            raise UserError(f"split random needs at least 2 pairs, but {dataset.root} holds {len(pairs)}", "add images")
        return Split(f"{LEAKING}, seed {seed}", tuple(pairs[count:]), tuple(pairs[:count]))
    if name not in SPLIT_NAMES:
        raise UserError(f"there is no split {name!r}", f"expected one of {', '.join(SPLIT_NAMES)}")
    train, test = (dataset.parts.get(part, []) for part in ("train", "test"))
    if not train or not test:
        raise UserError(
            f"{dataset.root} has no published train and test folders for split {name}", "use --split by-video"
        )
    if name == "official-clean":
        train_videos = {pair.video for pair in train}
        test = [pair for pair in test if pair.video not in train_videos]
    if not test:
        raise UserError(f"split {name} of {dataset.root} leaves no test images", "every test video is in training too")
    return Split(name, tuple(train), tuple(test))


def by_video_name(fold: int, seed: int) -> str:
    """Return the name of a by-video split, as `BY_VIDEO` parses it."""
    return f"by-video fold {fold} seed {seed}"


def split_from_name(dataset: Dataset, name: str) -> Split:
    """Return the split with this `Split.name`, which includes fold and seed. Raises `UserError`."""
    if match := BY_VIDEO.fullmatch(name):
        return make_split(dataset, "by-video", fold=int(match[1]), seed=int(match[2]))
    if match := RANDOM.fullmatch(name):
        return make_split(dataset, "random", seed=int(match[1]))
    return make_split(dataset, name)


def with_clean(dataset: Dataset, split: Split) -> list[Split]:
    """Return the split, followed by `official-clean` if it is `official` and has test videos not in training."""
    train_videos = {pair.video for pair in split.train}
    if split.name == "official" and any(pair.video not in train_videos for pair in split.test):
        return [split, make_split(dataset, "official-clean")]
    return [split]


def hold_out_videos(
    pairs: Sequence[Pair], *, seed: int, share: float = VALIDATION_SHARE
) -> tuple[list[Pair], list[Pair]]:
    """Hold out whole videos for validation, about `share` of the pairs. Return (train, validation).

    Raises `UserError` for fewer than two videos. A share of 0 holds out none.
    """
    if not share:
        return list(pairs), []
    videos = _shuffled_videos(pairs, seed)
    if len(videos) < 2:
        raise UserError(f"validation needs its own videos, but the data holds {len(videos)}", "expected 2 or more")
    held_out: set[str] = set()
    images, of_video = 0, Counter(pair.video for pair in pairs)
    for video in videos:
        if images >= share * len(pairs):
            break
        if images + of_video[video] <= MAX_VALIDATION_SHARE * len(pairs):  # a long video may be most of the data
            held_out.add(video)
            images += of_video[video]
    return _partition(pairs, held_out)


def split_held_out(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Hold out about 20 % of the videos for testing. Return (train, test).

    A hash of the video's name decides, so a video stays held out whatever the other files and the seed.
    """
    videos = {pair.video for pair in pairs}
    return _partition(pairs, {v for v in videos if int(hashlib.sha256(v.encode()).hexdigest(), 16) % FOLDS == 0})


def repeat(pairs: Sequence[Pair], share: float, others: int) -> list[Pair]:
    """Return the pairs, each repeated so that together they are at least `share` of an epoch with `others` more."""
    times = math.ceil(share / (1 - share) * others / len(pairs)) if pairs else 1
    return list(pairs) * max(1, times)


def find_shared(images: Iterable[tuple[str, str]], test: Sequence[Pair]) -> list[str]:
    """Return which of the images, pairs of name and SHA-256, are test images: "name is name" each."""
    test_names = {sha256(pair.image): pair.name for pair in test}
    return [f"{name} is {test_names[digest]}" for name, digest in images if digest in test_names]


def _shuffled_videos(pairs: Sequence[Pair], seed: int) -> list[str]:
    videos = sorted({pair.video for pair in pairs})
    random.Random(seed).shuffle(videos)
    return videos


def _partition(pairs: Sequence[Pair], held_out: set[str]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs outside and inside the videos `held_out`, in order."""
    return [p for p in pairs if p.video not in held_out], [p for p in pairs if p.video in held_out]
