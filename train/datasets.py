"""Which data a command works on: what was asked for, else FireSeg where it lies, else the synthetic set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.errors import UserError
from edge.progress import OnStep, no_steps
from train.fireseg import Dataset, load_dataset
from train.splits import Split, make_split
from train.synthetic import README, README_FILE, generate

FETCHED_DIR = Path("data/fireseg")
SYNTHETIC_DIR = Path("build/synthetic")
SYNTHETIC_COUNT = 240
SYNTHETIC_SEED = 0


@dataclass(frozen=True)
class Source:
    """A data set and what to call it in a title: synthetic data is never passed off as FireSeg."""

    dataset: Dataset
    title: str
    is_synthetic: bool


def open_split(data: Path | None, name: str | None, fold: int, on_step: OnStep) -> tuple[Source, Split]:
    """The data a command works on, and its split: the one named, else the published one, else by video."""
    source = find_data(data, on_step)
    if name is None:
        name = "official" if {"train", "test"} <= source.dataset.parts.keys() else "by-video"
    if fold and name != "by-video":
        raise UserError(f"--fold {fold} matters to --split by-video alone, but the split is {name}")
    return source, make_split(source.dataset, name, fold=fold)


def find_data(given: Path | None, on_step: OnStep = no_steps) -> Source:
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
        return Source(dataset, "SYNTHETIC data, not FireSeg", is_synthetic=True)
    return Source(dataset, "FireSeg" if dataset.layout == "fireseg" else root.name, is_synthetic=False)


def is_synthetic(root: Path) -> bool:
    """Whether `train.synthetic` painted the set, by the note it leaves beside its folders."""
    note = root / README_FILE
    return note.is_file() and note.read_text(errors="replace").startswith(README.splitlines()[0])
