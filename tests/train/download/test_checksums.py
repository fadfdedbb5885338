"""The published digests, and the comparison of a folder with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from train.download.checksums import digests, names, verify

NAMES = ["images_prepped_train/img(1).jpg", "images_prepped_train/img(2).jpg", "annotations_prepped_train/img(1).png"]
TABLE = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_the_table_has_a_digest_for_each_of_the_1200_files() -> None:
    assert list(digests()) == names()
    assert len(digests()) == 1200
    assert {len(digest) for digest in digests().values()} == {64}


@pytest.mark.parametrize(
    ("name", "start_and_end"),
    [
        ("images_prepped_train/img(1).jpg", ("1eb8bbca", "ea0819")),
        ("annotations_prepped_train/img(1).png", ("fb494a4a", "524f91")),
        ("images_prepped_test/img(1).jpg", ("36f3ef63", "21d6a4")),
        ("annotations_prepped_test/img(100).png", ("eeed9ebf", "afaa1b")),
    ],
)
def test_each_block_of_the_table_starts_and_ends_as_documented(name: str, start_and_end: tuple[str, str]) -> None:
    assert (digests()[name][:8], digests()[name][-6:]) == start_and_end


def test_the_same_bytes_are_verified(root: Path) -> None:
    verification = verify(root, TABLE)
    assert verification.identical == tuple(NAMES) and verification.is_published
    assert str(verification) == f"{root}: verified, all 3 files are the published bytes"


def test_other_bytes_are_changed_and_an_absent_file_is_missing(root: Path) -> None:
    (root / NAMES[0]).unlink()
    (root / NAMES[1]).write_bytes(b"resized")
    verification = verify(root, TABLE)
    assert (verification.missing, verification.changed) == ((NAMES[0],), (NAMES[1],))
    assert not verification.is_published
    assert "differs from the published bytes: 1 of 3" in str(verification)


def test_an_image_that_was_not_published_is_extra(root: Path) -> None:
    (root / "images_prepped_train/img(501).jpg").write_bytes(b"own")
    (root / "images_prepped_train/notes.txt").write_bytes(b"not an image")
    verification = verify(root, TABLE)
    assert verification.extra == ("images_prepped_train/img(501).jpg",)
    assert not verification.is_published


def test_every_file_of_an_absent_folder_is_missing(tmp_path: Path) -> None:
    assert verify(tmp_path / "absent").missing == tuple(names())
