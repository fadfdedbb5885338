"""The report of `check`, which lists every broken file at once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_image
from train.data.check import check
from train.data.fireseg import load_dataset

HEIGHT, WIDTH = 12, 16

pytestmark = pytest.mark.filterwarnings("ignore:.*has no groups.csv")


def write_pair(root: Path, part: str, number: int, *, fire_px: int = 12, values: tuple[int, ...] = (255,)) -> None:
    """Write an image with its own colour, and a mask of `fire_px` fire pixels with the values in turn."""
    image = np.full((HEIGHT, WIDTH, 3), number, np.uint8)
    image[0, 0] = len(part)
    mask = np.zeros(HEIGHT * WIDTH, np.uint8)
    mask[:fire_px] = np.resize(values, fire_px)
    write_image(root / f"images_prepped_{part}" / f"img({number}).png", image)
    write_image(root / f"annotations_prepped_{part}" / f"img({number}).png", mask.reshape(HEIGHT, WIDTH))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five training images and three test images, of the videos a and b, with b in both parts."""
    for number in range(1, 6):
        write_pair(tmp_path, "train", number, fire_px=0 if number in (3, 5) else 12)
    for number in range(1, 4):
        write_pair(tmp_path, "test", number, fire_px=0 if number == 2 else 96)
    lines = [f"train/img({n}),{'a' if n < 4 else 'b'}" for n in range(1, 6)] + [f"test/img({n}),b" for n in (1, 2, 3)]
    (tmp_path / "groups.csv").write_text("\n".join(["stem,group", *lines]))
    return tmp_path


def test_images_sizes_fire_videos_and_leaks_are_reported(root: Path) -> None:
    report = check(load_dataset(root))
    assert (report["root"], report["layout"]) == (str(root), "fireseg")
    train, test = report["parts"]["train"], report["parts"]["test"]
    assert (train["images"], test["images"]) == (5, 3)
    assert train["sizes"] == {"16x12": 5}
    assert train["fire_share"] == round(3 * 12 / (5 * 192), 4)
    assert test["fire_share"] == round(2 * 96 / (3 * 192), 4)
    assert train["videos"] == {"a": 3, "b": 2}
    assert train["empty_masks"] == ["train/img(3)", "train/img(5)"] and test["empty_masks"] == ["test/img(2)"]
    assert report["leaks"] == {"videos_in_train_and_test": ["b"], "identical_images": []}
    assert report["warnings"] == []
    assert json.loads(json.dumps(report)) == report


def test_the_most_frequent_size_comes_first(root: Path) -> None:
    for stem, (height, width) in {"img(6)": (20, 30), "img(7)": (20, 30), "img(8)": (8, 8)}.items():
        write_image(root / "images_prepped_train" / f"{stem}.png", np.zeros((height, width, 3), np.uint8))
        write_image(root / "annotations_prepped_train" / f"{stem}.png", np.zeros((height, width), np.uint8))
    sizes = check(load_dataset(root))["parts"]["train"]["sizes"]
    assert list(sizes.items()) == [("16x12", 5), ("30x20", 2), ("8x8", 1)]


def test_images_with_equal_content_are_listed_under_any_name(root: Path) -> None:
    same = (root / "images_prepped_train" / "img(2).png").read_bytes()
    (root / "images_prepped_train" / "img(4).png").write_bytes(same)
    (root / "images_prepped_test" / "img(1).png").write_bytes(same)
    assert check(load_dataset(root))["leaks"]["identical_images"] == [["train/img(2)", "train/img(4)", "test/img(1)"]]


def test_masks_with_intermediate_values_are_warnings_in_the_report_alone(root: Path) -> None:
    write_pair(root, "train", 1, values=(1,))
    write_pair(root, "train", 4, values=(255, 90, 3))
    write_pair(root, "test", 3, values=(17,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = check(load_dataset(root))["warnings"]
    assert "annotations_prepped_test/img(3).png holds 2 levels, expected 0 and 1 or 0 and 255" in first
    assert "annotations_prepped_train/img(4).png holds 4 levels" in second


def test_every_broken_file_is_listed_at_once_and_progress_counts_it(root: Path) -> None:
    image = root / "images_prepped_train" / "img(4).png"
    image.write_bytes(image.read_bytes()[:-20])
    (root / "annotations_prepped_train" / "img(5).png").write_bytes(b"")
    write_image(root / "annotations_prepped_test" / "img(1).png", np.zeros((5, 5), np.uint8))
    steps: list[None] = []
    with pytest.raises(UserError) as caught:
        check(load_dataset(root), on_progress=lambda: steps.append(None))
    first, second, third, count = caught.value.lines
    assert "images_prepped_train/img(4).png" in first
    assert "annotations_prepped_train/img(5).png" in second
    assert "annotations_prepped_test/img(1).png is 5x5 but its image img(1).png is 16x12" in third
    assert count == "3 of 8 images cannot be used: repair or remove them"
    assert len(steps) == 8


def test_masks_that_are_fire_everywhere_or_look_inverted_are_warnings_with_their_names(root: Path) -> None:
    write_pair(root, "train", 1, fire_px=HEIGHT * WIDTH)
    inverted = np.full((HEIGHT, WIDTH), 255, np.uint8)
    inverted[4:8, 4:8] = 0
    for number in (2, 4):
        write_image(root / "annotations_prepped_train" / f"img({number}).png", inverted)
    everywhere, borders = check(load_dataset(root))["warnings"]
    assert everywhere.startswith("1 of 8 masks are fire everywhere (train/img(1)): the background may be white")
    assert borders.startswith("2 of 8 masks look inverted (train/img(2), train/img(4)): fire covers the border")


def test_a_set_without_a_fire_pixel_is_a_warning(root: Path) -> None:
    for path in root.glob("annotations_*/*.png"):
        write_image(path, np.zeros((HEIGHT, WIDTH), np.uint8))
    (text,) = check(load_dataset(root))["warnings"]
    assert text.startswith("every mask is empty: expected fire above 0")


def test_a_set_of_jpegs_that_cannot_be_checked_inside_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.data.check.CHECKS_JPEGS", False)
    assert check(load_dataset(root))["warnings"] == []
    write_image(root / "images_prepped_test" / "img(9).jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write_image(root / "annotations_prepped_test" / "img(9).png", np.eye(HEIGHT, WIDTH, dtype=np.uint8))
    (text,) = check(load_dataset(root))["warnings"]
    assert text.startswith("JPEGs that are damaged inside are not recognised")
