"""The data set of a command and its title: a synthetic set is never presented as FireSeg."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edge.console import no_steps
from edge.errors import UserError
from edge.images import write_image
from train.data import sources
from train.data.sources import (
    FETCHED_DIR,
    SYNTHETIC_DIR,
    assert_unseen,
    find_data,
    open_extra_sets,
    open_held_out,
    open_split,
)
from train.synthetic.generate import generate

pytestmark = pytest.mark.filterwarnings("ignore:.*has no groups.csv")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_pairs(root: Path, images: str = "images", masks: str = "masks", count: int = 2) -> Path:
    for number in range(1, count + 1):
        write_image(root / images / f"img({number}).png", np.full((8, 8, 3), number, np.uint8))
        write_image(root / masks / f"img({number}).png", np.zeros((8, 8), np.uint8))
    return root


def write_fireseg(root: Path) -> Path:
    for part in ("train", "test"):
        write_pairs(root, f"images_prepped_{part}", f"annotations_prepped_{part}")
    return root


def write_extra(root: Path, groups: int = 20) -> Path:
    """Write two pairs of each group."""
    lines = ["stem,group"]
    for number in range(2 * groups):
        lines.append(f"p{number},g{number // 2}")
        write_image(root / "images" / f"p{number}.png", np.full((8, 8, 3), number, np.uint8))
        write_image(root / "masks" / f"p{number}.png", np.full((8, 8), 255, np.uint8))
    (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return root


def write_negatives(root: Path, count: int = 20) -> Path:
    for number in range(count):
        write_image(root / f"n{number}.png", np.full((8, 8, 3), 100 + number, np.uint8))
    return root


def test_a_folder_passed_precedes_the_fetched_set_and_only_fireseg_is_called_fireseg(tmp_path: Path) -> None:
    write_fireseg(FETCHED_DIR)
    source = find_data(write_pairs(tmp_path / "barn"))
    assert (source.dataset.root, source.title, source.is_synthetic) == (tmp_path / "barn", "barn", False)
    assert find_data(write_fireseg(tmp_path / "mine")).title == "FireSeg"
    source = find_data(None)
    assert (source.dataset.root, source.title) == (FETCHED_DIR, "FireSeg")
    assert not SYNTHETIC_DIR.exists()


def test_without_any_data_a_synthetic_set_is_generated_once_and_titled_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SYNTHETIC_COUNT", 6)
    source = find_data(None)
    assert source.dataset.root == SYNTHETIC_DIR
    assert len(source.dataset.pairs) == 6
    assert source.is_synthetic
    assert source.title == "SYNTHETIC data, not FireSeg"
    times = {path: path.stat().st_mtime_ns for path in SYNTHETIC_DIR.rglob("*")}
    assert find_data(None) == source
    assert {path: path.stat().st_mtime_ns for path in SYNTHETIC_DIR.rglob("*")} == times


def test_a_synthetic_set_is_titled_so_in_any_folder(tmp_path: Path) -> None:
    for root in (tmp_path / "FireSeg", FETCHED_DIR):
        generate(root, 6, 1, height=32, width=32)
        source = find_data(None if root == FETCHED_DIR else root)
        assert source.is_synthetic and "SYNTHETIC" in source.title


def test_a_set_with_another_readme_is_not_synthetic(tmp_path: Path) -> None:
    root = write_fireseg(tmp_path / "mine")
    (root / "README.txt").write_bytes(b"FireSeg, as published \xff\xfe")
    assert find_data(root).title == "FireSeg"


def test_a_missing_folder_is_named_and_not_replaced_by_a_synthetic_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: expected FireSeg's folders or images/ \+ masks/"):
        find_data(tmp_path / "nowhere")
    assert not SYNTHETIC_DIR.exists()


def test_the_published_split_is_the_default_if_there_is_one(tmp_path: Path) -> None:
    assert open_split(write_fireseg(tmp_path / "mine"), None, 0, no_steps)[1].name == "official"
    barn = write_pairs(tmp_path / "barn", count=10)
    assert open_split(barn, None, 3, no_steps)[1].name == "by-video fold 3 seed 0"


def test_an_extra_set_holds_out_whole_groups_and_takes_its_folder_s_name(tmp_path: Path) -> None:
    (web,) = open_extra_sets([write_extra(tmp_path / "web")], [])
    assert (web.title, web.kind) == ("web", "extra")
    assert len(web.train) + len(web.test) == 40
    assert 0 < len(web.test) < len(web.train)
    assert not {pair.video for pair in web.train} & {pair.video for pair in web.test}


def test_negatives_are_held_out_one_by_one_and_named_after_the_folder_above_images(tmp_path: Path) -> None:
    (sunsets,) = open_extra_sets([], [write_negatives(tmp_path / "sunsets" / "images")])
    assert (sunsets.title, sunsets.kind) == ("sunsets", "negatives")
    assert len(sunsets.train) + len(sunsets.test) == 20 and sunsets.train and sunsets.test
    assert not any(pair.read()[1].any() for pair in sunsets.train + sunsets.test)


def test_the_order_of_the_flags_does_not_matter(tmp_path: Path) -> None:
    a, b, web = write_negatives(tmp_path / "a"), write_negatives(tmp_path / "b"), write_extra(tmp_path / "web")
    sets = open_extra_sets([web], [a, b])
    assert [extra_set.title for extra_set in sets] == ["web", "a", "b"]
    assert sets == open_extra_sets([web], [b, a])


def test_a_test_image_in_an_extra_training_set_is_refused_under_any_name(tmp_path: Path) -> None:
    extra_sets = open_extra_sets([write_extra(tmp_path / "web")], [])
    train, held_out = extra_sets[0].train[0], extra_sets[0].test[0]
    pairs = find_data(write_pairs(tmp_path / "data")).dataset.pairs
    assert_unseen([], pairs, pairs)
    image = next(pair for pair in pairs if pair.image.read_bytes() != train.image.read_bytes())
    image.image.write_bytes(held_out.image.read_bytes())  # not trained on, so harmless
    assert_unseen(extra_sets, [], [image])
    image.image.write_bytes(train.image.read_bytes())
    with pytest.raises(UserError, match=rf"1 training images are .*\(web/{train.name} is {re.escape(image.name)}\)"):
        assert_unseen(extra_sets, [], [image])


def test_a_held_out_image_among_the_training_images_of_the_main_set_is_refused(tmp_path: Path) -> None:
    extra_sets = open_extra_sets([write_extra(tmp_path / "web")], [])
    held_out = extra_sets[0].test[0]
    image = find_data(write_pairs(tmp_path / "data")).dataset.pairs[0]
    image.image.write_bytes(held_out.image.read_bytes())
    with pytest.raises(UserError, match=f"{re.escape(image.name)} is {held_out.name}"):
        assert_unseen(extra_sets, [image], [])


def test_a_held_out_image_of_one_set_in_the_training_part_of_another_is_refused(tmp_path: Path) -> None:
    extra, negatives = write_extra(tmp_path / "web"), write_negatives(tmp_path / "n")
    held_out = open_extra_sets([], [negatives])[0].test[0]
    train = open_extra_sets([extra], [])[0].train[0]
    train.image.write_bytes(held_out.image.read_bytes())
    with pytest.raises(UserError, match=f"web/{train.name} is {held_out.name}"):
        assert_unseen(open_extra_sets([extra], [negatives]), [], [])


def test_ambiguous_names_and_empty_held_out_parts_are_refused(tmp_path: Path) -> None:
    a, b = write_negatives(tmp_path / "a" / "suns"), write_negatives(tmp_path / "b" / "suns")
    with pytest.raises(UserError, match="two extra sets are called suns: pass each once"):
        open_extra_sets([], [a, b])
    with pytest.raises(UserError, match="has the name of the split suns: rename its folder"):
        open_held_out([], [a], taken=["suns"])
    with pytest.raises(UserError, match="few is too small to hold out 20 %"):
        open_held_out([], [write_negatives(tmp_path / "few", count=1)], taken=[])
