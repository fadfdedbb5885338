"""Open the data set of a command: the folder passed, else FireSeg in data/fireseg, else a synthetic set.

A training can add extra sets: further pairs, and negatives (images without fire). 20 % of each is held out for testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.files import sha256
from train.data.fireseg import Dataset, Pair, load_dataset, load_negatives, printable_name
from train.data.splits import Split, find_shared, make_split, split_held_out
from train.synthetic.generate import README, README_FILE, generate

FETCHED_DIR = Path("data/fireseg")
SYNTHETIC_DIR = Path("build/synthetic")
SYNTHETIC_COUNT = 240
SYNTHETIC_SEED = 0


@dataclass(frozen=True)
class DataSource:
    """A data set and its title in reports. The title of a synthetic set says that it is not FireSeg."""

    dataset: Dataset
    title: str
    is_synthetic: bool


@dataclass(frozen=True)
class ExtraSet:
    """A further training set. `test` is the 20 % held out for testing."""

    title: str
    kind: Literal["extra", "negatives"]
    dataset: Dataset
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


def find_data(root: Path | None, on_step: OnStep = no_steps) -> DataSource:
    """Load the folder `root`, else data/fireseg, else generate a synthetic set. Raises `UserError`."""
    root = root or (FETCHED_DIR if FETCHED_DIR.is_dir() else None)
    if root is None:
        root = SYNTHETIC_DIR
        on_image = on_step("generating synthetic images", SYNTHETIC_COUNT)
        generate(root, SYNTHETIC_COUNT, SYNTHETIC_SEED, on_progress=on_image)
    dataset = load_dataset(root)
    note = root / README_FILE
    if note.is_file() and note.read_text(errors="replace").startswith(README.splitlines()[0]):
        return DataSource(dataset, "SYNTHETIC data, not FireSeg", is_synthetic=True)
    return DataSource(
        dataset, "FireSeg" if dataset.layout == "fireseg" else printable_name(root.name), is_synthetic=False
    )


def open_split(data: Path | None, name: str | None, fold: int, on_step: OnStep) -> tuple[DataSource, Split]:
    """Return the data set and the split `name`: by default the published split, or by video if there is none."""
    source = find_data(data, on_step)
    if name is None:
        name = "official" if {"train", "test"} <= source.dataset.parts.keys() else "by-video"
    if fold and name != "by-video":
        raise UserError(f"--fold {fold} needs --split by-video, but the split is {name}", "remove --fold")
    return source, make_split(source.dataset, name, fold=fold)


def open_extra_sets(extra: Sequence[Path], negatives: Sequence[Path], *, hold_out: bool = True) -> list[ExtraSet]:
    """Load the extra sets, sorted by kind and title, so that the order of the flags does not matter.

    Without `hold_out` all their images are for training.
    """
    sets = [_extra_set("extra", root, hold_out) for root in extra]
    sets += [_extra_set("negatives", root, hold_out) for root in negatives]
    titles = [extra_set.title for extra_set in sets]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise UserError(f"two extra sets are called {twice[0]}", "pass each once, in a folder with its own name")
    return sorted(sets, key=lambda extra_set: (extra_set.kind, extra_set.title))


def open_held_out(extra: Sequence[Path], negatives: Sequence[Path], taken: Sequence[str]) -> list[ExtraSet]:
    """Load extra sets to evaluate on their held-out parts.

    Raises `UserError` for an empty held-out part, and for a title in `taken`, the names of the evaluated splits.
    """
    sets = open_extra_sets(extra, negatives)
    for extra_set in sets:
        if extra_set.title in taken:
            raise UserError(f"an extra set has the name of the split {extra_set.title}", "rename its folder")
        if not extra_set.test:
            raise UserError(f"{extra_set.title} is too small to hold out 20 %", "expected more images")
    return sets


def assert_unseen(extra_sets: Sequence[ExtraSet], training: Sequence[Pair], test: Sequence[Pair]) -> None:
    """Raise `UserError` if an image is both for training and for testing because of an extra set, under any name.

    Args:
        training: of the main set.
        test: of the main set, with its validation images.
    """
    held_out = [pair for extra_set in extra_sets for pair in extra_set.test]
    train = [(f"{extra_set.title}/{p.name}", sha256(p.image)) for extra_set in extra_sets for p in extra_set.train]
    shared = find_shared(train, [*test, *held_out])
    if held_out:
        shared += find_shared([(pair.name, sha256(pair.image)) for pair in training], held_out)
    if shared:
        raise UserError(
            f"{len(shared)} training images are also test images ({', '.join(shared[:3])})",
            "remove them from the extra sets, or every metric is inflated",
        )


def _extra_set(kind: Literal["extra", "negatives"], root: Path, hold_out: bool) -> ExtraSet:
    dataset = load_dataset(root) if kind == "extra" else load_negatives(root)
    train, test = split_held_out(dataset.pairs) if hold_out else (list(dataset.pairs), [])
    folder = root.resolve()
    title = printable_name((folder.parent if folder.name == "images" else folder).name)
    return ExtraSet(title, kind, dataset, tuple(train), tuple(test))
