"""Which data a command works on: what was asked for, else FireSeg where it lies, else the synthetic set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.fireseg import Dataset, load_dataset
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


def find_data(given: Path | None) -> Source:
    """Load the folder given (by --data or FIRESEG_DIR), else data/fireseg, else a synthetic set made on the spot.

    Raises `UserError` where the folder given is not one.
    """
    root = given or (FETCHED_DIR if FETCHED_DIR.is_dir() else None)
    if root is None:
        root = SYNTHETIC_DIR
        generate(root, SYNTHETIC_COUNT, SYNTHETIC_SEED)
    dataset = load_dataset(root)
    if is_synthetic(root):
        return Source(dataset, "SYNTHETIC data, not FireSeg", is_synthetic=True)
    return Source(dataset, "FireSeg" if dataset.layout == "fireseg" else root.name, is_synthetic=False)


def is_synthetic(root: Path) -> bool:
    """Whether `train.synthetic` painted the set, by the note it leaves beside its folders."""
    note = root / README_FILE
    return note.is_file() and note.read_text(errors="replace").startswith(README.splitlines()[0])


def default_split(dataset: Dataset) -> str:
    """The published split where there is one, else by video."""
    return "official" if {"train", "test"} <= dataset.parts.keys() else "by-video"
