"""Which data a command works on, and what it is called: a painted set is never passed off as FireSeg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_picture
from edge.progress import no_steps
from train import datasets
from train.datasets import FETCHED_DIR, SYNTHETIC_DIR, find_data, is_synthetic, open_split
from train.synthetic import generate


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "SYNTHETIC_COUNT", 6)


def write_pairs(root: Path, images: str, masks: str, count: int = 2) -> Path:
    for number in range(1, count + 1):
        write_picture(root / images / f"img({number}).png", np.full((8, 8, 3), number, np.uint8))
        write_picture(root / masks / f"img({number}).png", np.zeros((8, 8), np.uint8))
    return root


def write_fireseg(root: Path) -> Path:
    for part in ("train", "test"):
        write_pairs(root, f"images_prepped_{part}", f"annotations_prepped_{part}")
    return root


def test_the_folder_given_is_taken(tmp_path: Path) -> None:
    write_fireseg(FETCHED_DIR)
    source = find_data(write_pairs(tmp_path / "barn", "images", "masks"))
    assert source.dataset.root == tmp_path / "barn"
    assert not source.is_synthetic


def test_only_firesegs_layout_is_called_fireseg(tmp_path: Path) -> None:
    assert find_data(write_fireseg(tmp_path / "mine")).title == "FireSeg"
    assert find_data(write_pairs(tmp_path / "barn", "images", "masks")).title == "barn"


def test_without_a_folder_the_fetched_set_is_taken() -> None:
    write_fireseg(FETCHED_DIR)
    source = find_data(None)
    assert (source.dataset.root, source.title) == (FETCHED_DIR, "FireSeg")
    assert not SYNTHETIC_DIR.exists()


def test_without_any_data_a_set_is_painted_once_and_announced_as_painted() -> None:
    source = find_data(None)
    assert source.dataset.root == SYNTHETIC_DIR
    assert len(source.dataset.pairs) == 6
    assert source.is_synthetic
    assert source.title == "SYNTHETIC data, not FireSeg"
    painted = {path: path.stat().st_mtime_ns for path in SYNTHETIC_DIR.rglob("*")}
    assert find_data(None) == source
    assert {path: path.stat().st_mtime_ns for path in SYNTHETIC_DIR.rglob("*")} == painted


def test_a_painted_set_is_called_so_wherever_it_lies(tmp_path: Path) -> None:
    for root in (tmp_path / "FireSeg", FETCHED_DIR):
        generate(root, 6, 1, height=32, width=32)
        assert is_synthetic(root)
        for source in (find_data(root), find_data(None) if root == FETCHED_DIR else find_data(root)):
            assert source.is_synthetic
            assert "SYNTHETIC" in source.title


def test_a_set_with_a_readme_of_its_own_is_not_taken_for_a_painted_one(tmp_path: Path) -> None:
    root = write_fireseg(tmp_path / "mine")
    (root / "README.txt").write_bytes(b"FireSeg, as published \xff\xfe")
    assert find_data(root).title == "FireSeg"


def test_a_missing_folder_is_named_and_nothing_is_painted_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: expected FireSeg's folders or images/ \+ masks/"):
        find_data(tmp_path / "nowhere")
    assert not SYNTHETIC_DIR.exists()


def test_the_published_split_is_the_default_where_there_is_one(tmp_path: Path) -> None:
    assert open_split(write_fireseg(tmp_path / "mine"), None, 0, no_steps)[1].name == "official"
    barn = write_pairs(tmp_path / "barn", "images", "masks", count=10)
    with pytest.warns(UserWarning, match=r"no groups\.csv"):
        assert open_split(barn, None, 3, no_steps)[1].name == "by-video fold 3 seed 0"


def test_a_fold_of_a_split_that_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--fold 2 matters to --split by-video alone"):
        open_split(write_fireseg(tmp_path / "mine"), "official", 2, no_steps)
