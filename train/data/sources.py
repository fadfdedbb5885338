"""Which data a command works on: what was asked for, else FireSeg where it lies, else the synthetic set.

Beside it a training may learn from supplements: further pairs, and pictures without flames. A fifth of each is held
out for testing, and no figure of FireSeg's depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.files import sha256
from train.data.fireseg import Dataset, Pair, load_dataset, load_negatives
from train.data.splits import Split, find_shared, hold_out_fifth, make_split
from train.synthetic.generate import README, README_FILE, generate

FETCHED_DIR = Path("data/fireseg")
SYNTHETIC_DIR = Path("build/synthetic")
SYNTHETIC_COUNT = 240
SYNTHETIC_SEED = 0


@dataclass(frozen=True)
class DataSource:
    """A data set and what to call it in a title: synthetic data is never passed off as FireSeg."""

    dataset: Dataset
    title: str
    is_synthetic: bool


@dataclass(frozen=True)
class ExtraSet:
    """A further set that only ever learns, but for the fifth of it that is held out for testing alone."""

    title: str
    kind: Literal["extra", "negatives"]
    learn: tuple[Pair, ...]
    test: tuple[Pair, ...]


def open_split(data: Path | None, name: str | None, fold: int, on_step: OnStep) -> tuple[DataSource, Split]:
    """The data a command works on, and its split: the one named, else the published one, else by video."""
    source = find_data(data, on_step)
    if name is None:
        name = "official" if {"train", "test"} <= source.dataset.parts.keys() else "by-video"
    if fold and name != "by-video":
        raise UserError(f"--fold {fold} matters to --split by-video alone, but the split is {name}")
    return source, make_split(source.dataset, name, fold=fold)


def open_extra_sets(extra: Sequence[Path], negatives: Sequence[Path]) -> list[ExtraSet]:
    """Load what is to be learnt beside the data, in an order of their own: that of the flags must not matter."""
    opened = [_supplement("extra", root) for root in extra] + [_supplement("negatives", root) for root in negatives]
    titles = [one.title for one in opened]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise UserError(f"two further sets are called {twice[0]}", "give each once, in a folder of its own name")
    return sorted(opened, key=lambda one: (one.kind, one.title))


def open_held_out(extra: Sequence[Path], negatives: Sequence[Path], taken: Sequence[str]) -> list[ExtraSet]:
    """Load further sets to judge by what was held out of them.

    Raises `UserError` where that is nothing, or where one is called as a split that is judged too: one of `taken`.
    """
    opened = open_extra_sets(extra, negatives)
    if named := sorted({one.title for one in opened} & {*taken}):
        raise UserError(f"a further set is called {named[0]}, as a split is", "give its folder another name")
    if empty := [one.title for one in opened if not one.test]:
        raise UserError(f"{empty[0]} is too small for a fifth of it to be held out", "expected more images")
    return opened


def assert_unseen(supplements: Sequence[ExtraSet], judging: Sequence[Pair]) -> None:
    """Raise `UserError` where an image that judges would be learnt from too, under whatever name."""
    judging = [*judging, *(pair for one in supplements for pair in one.test)]
    learnt = [(f"{one.title}/{pair.name}", sha256(pair.image)) for one in supplements for pair in one.learn]
    if shared := find_shared(learnt, judging):
        raise UserError(
            f"{len(shared)} further images are among those that judge ({', '.join(shared[:3])})",
            "take them out, or every figure flatters the model",
        )


def _supplement(kind: Literal["extra", "negatives"], root: Path) -> ExtraSet:
    pairs = (load_dataset(root) if kind == "extra" else load_negatives(root)).pairs
    learn, test = hold_out_fifth(pairs)
    folder = root.resolve()
    return ExtraSet((folder.parent if folder.name == "images" else folder).name, kind, tuple(learn), tuple(test))


def find_data(given: Path | None, on_step: OnStep = no_steps) -> DataSource:
    """Load the folder given (by --data or FIRESEG_DIR), else data/fireseg, else a synthetic set made on the spot.

    Raises `UserError` where the folder given is not one.
    """
    root = given or (FETCHED_DIR if FETCHED_DIR.is_dir() else None)
    if root is None:
        root = SYNTHETIC_DIR
        done = on_step("painting synthetic images", SYNTHETIC_COUNT)
        generate(root, SYNTHETIC_COUNT, SYNTHETIC_SEED, on_progress=done)
    dataset = load_dataset(root)
    if is_synthetic(root):
        return DataSource(dataset, "SYNTHETIC data, not FireSeg", is_synthetic=True)
    return DataSource(dataset, "FireSeg" if dataset.layout == "fireseg" else root.name, is_synthetic=False)


def is_synthetic(root: Path) -> bool:
    """Whether `train.synthetic.generate` painted the set, by the note it leaves beside its folders."""
    note = root / README_FILE
    return note.is_file() and note.read_text(errors="replace").startswith(README.splitlines()[0])
