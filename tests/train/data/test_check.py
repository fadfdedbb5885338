"""What `check` says of a data set, and that it lists everything broken at once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_picture
from train.data.check import check
from train.data.fireseg import load_dataset

HEIGHT, WIDTH = 12, 16


def write_pair(
    root: Path, part: str, number: int, *, fire_px: int = 12, values: tuple[int, ...] = (255,), look: int | None = None
) -> None:
    """`fire_px` burning pixels of the given values in turn; the image is of the colour `look`, unlike any other."""
    colour = np.full((HEIGHT, WIDTH, 3), number if look is None else look, np.uint8)
    colour[0, 0] = len(part)
    mask = np.zeros(HEIGHT * WIDTH, np.uint8)
    mask[:fire_px] = np.resize(values, fire_px)
    write_picture(root / f"images_prepped_{part}" / f"img({number}).png", colour)
    write_picture(root / f"annotations_prepped_{part}" / f"img({number}).png", mask.reshape(HEIGHT, WIDTH))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 images to train on, 3 to judge by: v01 and v02, then the rest of v02 in the test."""
    for number in range(1, 41):
        write_pair(tmp_path, "train", number, fire_px=0 if number in (3, 11) else 12)
    for number in range(1, 4):
        write_pair(tmp_path, "test", number, fire_px=0 if number == 2 else 96)
    return tmp_path


def test_images_sizes_fire_and_videos_are_counted_part_by_part(root: Path) -> None:
    found = check(load_dataset(root))
    assert (found["root"], found["layout"]) == (str(root), "fireseg")
    train, test = found["parts"]["train"], found["parts"]["test"]
    assert (train["images"], test["images"]) == (40, 3)
    assert train["sizes"] == {"16x12": 40}
    assert train["fire_share"] == round(38 * 12 / (40 * 192), 4)
    assert test["fire_share"] == round(2 * 96 / (3 * 192), 4)
    assert train["videos"] == {"v01": 30, "v02": 10}
    assert json.loads(json.dumps(found)) == found


def test_empty_masks_are_named(root: Path) -> None:
    parts = check(load_dataset(root))["parts"]
    assert parts["train"]["empty_masks"] == ["train/img(3)", "train/img(11)"]
    assert parts["test"]["empty_masks"] == ["test/img(2)"]


def test_the_most_frequent_size_comes_first(root: Path) -> None:
    for stem, (height, width) in {"img(41)": (20, 30), "img(42)": (20, 30), "img(43)": (8, 8)}.items():
        write_picture(root / "images_prepped_train" / f"{stem}.png", np.zeros((height, width, 3), np.uint8))
        write_picture(root / "annotations_prepped_train" / f"{stem}.png", np.zeros((height, width), np.uint8))
    sizes = check(load_dataset(root))["parts"]["train"]["sizes"]
    assert list(sizes.items()) == [("16x12", 40), ("30x20", 2), ("8x8", 1)]


def test_a_video_in_train_and_test_is_a_leak(root: Path) -> None:
    assert check(load_dataset(root))["leaks"]["videos_in_train_and_test"] == ["v02"]


def test_groups_of_ones_own_are_believed_over_the_numbers(root: Path) -> None:
    names = [pair.name for pair in load_dataset(root).pairs]
    lines = [f"{name},{'a' if name.startswith('train') else 'b'}" for name in names]
    (root / "groups.csv").write_text("\n".join(["stem,group", *lines]))
    found = check(load_dataset(root))
    assert found["leaks"]["videos_in_train_and_test"] == []
    assert found["parts"]["test"]["videos"] == {"b": 3}


def test_images_of_one_content_are_listed_whatever_they_are_called(root: Path) -> None:
    assert check(load_dataset(root))["leaks"]["identical_images"] == []
    same = (root / "images_prepped_train" / "img(5).png").read_bytes()
    (root / "images_prepped_train" / "img(9).png").write_bytes(same)
    (root / "images_prepped_test" / "img(1).png").write_bytes(same)
    assert check(load_dataset(root))["leaks"]["identical_images"] == [["train/img(5)", "train/img(9)", "test/img(1)"]]


def test_plain_folders_have_one_part_and_no_leaks(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        write_picture(tmp_path / "images" / f"{stem}.png", np.full((9, 9, 3), ord(stem), np.uint8))
        write_picture(tmp_path / "masks" / f"{stem}.png", np.zeros((9, 9), np.uint8))
    found = check(load_dataset(tmp_path))
    assert found["layout"] == "folders"
    assert found["parts"]["all"]["images"] == 2
    assert found["leaks"] == {"videos_in_train_and_test": [], "identical_images": []}


def test_masks_with_values_in_between_are_warned_of_each_by_name(root: Path) -> None:
    write_pair(root, "train", 7, values=(255, 90, 3))
    write_pair(root, "test", 3, values=(17,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they are told in the report, and nowhere else
        found = check(load_dataset(root))["warnings"]
    assert len(found) == 2
    assert "annotations_prepped_test/img(3).png holds 2 levels, expected 0 and 1 or 0 and 255" in found[0]
    assert "annotations_prepped_train/img(7).png holds 4 levels" in found[1]


def test_sound_masks_give_no_warning(root: Path) -> None:
    write_pair(root, "train", 1, values=(1,))
    assert check(load_dataset(root))["warnings"] == []


def test_everything_broken_is_listed_at_once_a_line_each(root: Path) -> None:
    image = root / "images_prepped_train" / "img(4).png"
    image.write_bytes(image.read_bytes()[:-20])
    (root / "annotations_prepped_train" / "img(8).png").write_bytes(b"")
    write_picture(root / "annotations_prepped_test" / "img(1).png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError) as caught:
        check(load_dataset(root))
    first, second, third = caught.value.lines
    assert "images_prepped_train/img(4).png is cut short" in first
    assert "annotations_prepped_train/img(8).png is not a picture" in second
    assert "annotations_prepped_test/img(1).png is 5x5 but its image img(1).png is 16x12" in third


def test_progress_is_told_once_a_pair_broken_or_not(root: Path) -> None:
    (root / "images_prepped_train" / "img(4).png").write_bytes(b"")
    steps: list[None] = []
    with pytest.raises(UserError):
        check(load_dataset(root), on_progress=lambda: steps.append(None))
    assert len(steps) == 43


def test_the_published_set_holds_600_pairs_and_one_leaked_video(fireseg_dir: Path) -> None:
    found = check(load_dataset(fireseg_dir))
    assert {part: facts["images"] for part, facts in found["parts"].items()} == {"train": 500, "test": 100}
    assert found["leaks"]["videos_in_train_and_test"] == ["v17"]
