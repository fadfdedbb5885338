"""Which data a command works on, and what it is called: a painted set is never passed off as FireSeg."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edge.console import no_steps
from edge.errors import UserError
from edge.images import write_picture
from train.data import sources as datasets
from train.data.sources import (
    FETCHED_DIR,
    SYNTHETIC_DIR,
    assert_unseen,
    find_data,
    is_synthetic,
    open_extra_sets,
    open_split,
)
from train.synthetic.generate import generate


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


def write_extra(root: Path, groups: int = 20) -> Path:
    """Two pictures of each of some groups."""
    lines = ["stem,group"]
    for number in range(2 * groups):
        lines.append(f"p{number},g{number // 2}")
        write_picture(root / "images" / f"p{number}.png", np.full((8, 8, 3), number, np.uint8))
        write_picture(root / "masks" / f"p{number}.png", np.full((8, 8), 255, np.uint8))
    (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return root


def write_negatives(root: Path, count: int = 20) -> Path:
    for number in range(count):
        write_picture(root / f"n{number}.png", np.full((8, 8, 3), 100 + number, np.uint8))
    return root


def test_a_supplement_holds_whole_groups_out_and_calls_itself_by_its_folder(tmp_path: Path) -> None:
    (found,) = open_extra_sets([write_extra(tmp_path / "web")], [])
    assert (found.title, found.kind) == ("web", "extra")
    assert len(found.learn) + len(found.test) == 40
    assert 0 < len(found.test) < len(found.learn)
    assert not {pair.video for pair in found.learn} & {pair.video for pair in found.test}


def test_negatives_are_held_out_one_by_one_and_named_by_the_set_and_not_by_images(tmp_path: Path) -> None:
    (found,) = open_extra_sets([], [write_negatives(tmp_path / "sunsets" / "images")])
    assert (found.title, found.kind) == ("sunsets", "negatives")
    assert found == open_extra_sets([], [tmp_path / "sunsets" / "images"])[0]
    assert len(found.learn) + len(found.test) == 20 and found.learn and found.test
    assert not any(pair.read()[1].any() for pair in found.learn + found.test)


def test_the_order_of_the_flags_does_not_matter(tmp_path: Path) -> None:
    one, other = write_negatives(tmp_path / "a"), write_negatives(tmp_path / "b")
    extra = write_extra(tmp_path / "web")
    found = open_extra_sets([extra], [one, other])
    assert [set_.title for set_ in found] == ["web", "a", "b"]
    assert found == open_extra_sets([extra], [other, one])


def test_an_image_that_judges_must_not_be_learnt_from_under_another_name(tmp_path: Path) -> None:
    supplements = open_extra_sets([write_extra(tmp_path / "web")], [])
    learnt, held_out = supplements[0].learn[0], supplements[0].test[0]
    data = find_data(write_pairs(tmp_path / "data", "images", "masks")).dataset
    others = [pair for pair in data.pairs if pair.image.read_bytes() != learnt.image.read_bytes()]
    assert_unseen([], data.pairs)
    others[0].image.write_bytes(held_out.image.read_bytes())  # is not learnt from, so it does no harm
    assert_unseen(supplements, others[:1])
    others[0].image.write_bytes(learnt.image.read_bytes())
    with pytest.raises(UserError, match=rf"1 further images .*\(web/{learnt.name} is {re.escape(others[0].name)}\)"):
        assert_unseen(supplements, others[:1])


def test_an_image_held_out_of_one_set_must_not_be_learnt_from_in_another(tmp_path: Path) -> None:
    negatives = write_negatives(tmp_path / "n")
    held_out = open_extra_sets([], [negatives])[0].test[0]
    extra = write_extra(tmp_path / "web")
    learnt = open_extra_sets([extra], [])[0].learn[0]
    learnt.image.write_bytes(held_out.image.read_bytes())
    with pytest.raises(UserError, match=f"web/{learnt.name} is {held_out.name}"):
        assert_unseen(open_extra_sets([extra], [negatives]), [])


def test_two_sets_of_one_name_are_refused_since_no_table_could_tell_them_apart(tmp_path: Path) -> None:
    one, other = write_negatives(tmp_path / "a" / "suns"), write_negatives(tmp_path / "b" / "suns")
    with pytest.raises(UserError, match="two further sets are called suns: give each once"):
        open_extra_sets([], [one, other])
