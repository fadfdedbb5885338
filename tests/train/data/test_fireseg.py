"""Loading folders as checked pairs: both layouts, all kinds of masks in use, and errors that name the file."""

from __future__ import annotations

import os
import unicodedata
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_image
from train.data.fireseg import content_hash, load_dataset, load_negatives
from train.data.masks import read_mask

HEIGHT, WIDTH = 12, 16

pytestmark = pytest.mark.filterwarnings("ignore:.*has no groups.csv")


def write_frame(path: Path, *, height: int = HEIGHT, width: int = WIDTH) -> None:
    write_image(path, np.full((height, width, 3), 90, np.uint8))


def write_mask(path: Path, *, fire: int = 255, height: int = HEIGHT, width: int = WIDTH) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 3:7] = fire
    write_image(path, mask)


def write_fireseg(root: Path, train: list[int], test: list[int], *, masks: str = "annotations_prepped") -> None:
    for part, numbers in (("train", train), ("test", test)):
        for number in numbers:
            write_frame(root / f"images_prepped_{part}" / f"img({number}).jpg")
            write_mask(root / f"{masks}_{part}" / f"img({number}).png")


def write_folders(root: Path, stems: list[str]) -> None:
    for stem in stems:
        write_frame(root / "images" / f"{stem}.jpg")
        write_mask(root / "masks" / f"{stem}.png")


def test_fireseg_s_layout_gives_both_parts_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[10, 2, 1], test=[1])
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "fireseg"
    assert [pair.name for pair in dataset.pairs] == ["train/img(1)", "train/img(2)", "train/img(10)", "test/img(1)"]
    assert {part: len(pairs) for part, pairs in dataset.parts.items()} == {"train": 3, "test": 1}


def test_a_copy_with_binary_annotations_is_loaded(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1], test=[1], masks="annotations_binary")
    folders = [pair.mask.parent.name for pair in load_dataset(tmp_path).pairs if pair.mask]
    assert folders == ["annotations_binary_train", "annotations_binary_test"]


def test_plain_folders_give_one_part_in_natural_order(tmp_path: Path) -> None:
    write_folders(tmp_path, ["fire10", "fire9", "barn"])
    with pytest.warns(UserWarning, match=r"no groups\.csv, so every image counts as its own video"):
        dataset = load_dataset(tmp_path)
    assert dataset.layout == "folders"
    assert [pair.name for pair in dataset.pairs] == ["barn", "fire9", "fire10"]
    assert {pair.part for pair in dataset.pairs} == {"all"}
    frame, mask = dataset.pairs[0].read()
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.bool_ and mask.sum() == 12


@pytest.mark.parametrize("fire", [1, 255])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masks_of_0_and_1_or_255_in_any_number_of_channels_are_equal(tmp_path: Path, fire: int, channels: int) -> None:
    path = tmp_path / "mask.png"
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:5, 3:7] = fire
    # Fire in a single colour is fire; alpha is not.
    planes = {1: [mask], 3: [np.zeros_like(mask), mask, np.zeros_like(mask)], 4: [mask] * 3 + [np.full_like(mask, 255)]}
    path.write_bytes(bytes(cv2.imencode(".png", np.dstack(planes[channels]))[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_mask(path) == (mask > 0)).all()


@pytest.mark.parametrize("levels", [(0,), (255,), (0, 128), (0, 7, 255), (0, 1, 255)])
def test_intermediate_values_are_fire_with_a_warning_that_names_the_file(
    tmp_path: Path, levels: tuple[int, ...]
) -> None:
    values = np.resize(np.array(levels, np.uint8), (HEIGHT, WIDTH))
    write_image(tmp_path / "soft.png", values)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (read_mask(tmp_path / "soft.png") == (values > 0)).all()
    texts = [str(warning.message) for warning in caught]
    assert [f"soft.png holds {len(levels)} levels" in text for text in texts] == [True] * (len(levels) > 1)


def test_every_file_without_a_partner_is_listed_at_once(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1, 2, 3], test=[1, 2])
    (tmp_path / "annotations_prepped_train" / "img(2).png").unlink()
    (tmp_path / "images_prepped_train" / "img(3).jpg").unlink()
    (tmp_path / "annotations_prepped_test" / "img(1).png").unlink()
    with pytest.raises(UserError) as raised:
        load_dataset(tmp_path)
    first, second, third = raised.value.lines
    assert "images_prepped_train/img(2).jpg has no mask: expected" in first and first.endswith("train/img(2).png")
    assert "annotations_prepped_train/img(3).png has no image" in second
    assert "images_prepped_test/img(1).jpg has no mask" in third


def test_a_missing_folder_says_how_to_get_data_and_an_empty_one_names_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*fireseg-train fetch"):
        load_dataset(tmp_path / "missing")
    with pytest.raises(UserError, match=r"images_prepped_train/ .* images/ and masks/"):
        load_dataset(tmp_path)


def test_folders_without_images_and_without_masks_are_named(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1], test=[])
    (tmp_path / "images_prepped_test").mkdir()
    (tmp_path / "annotations_prepped_train" / "img(1).png").unlink()
    with pytest.raises(UserError) as raised:
        load_dataset(tmp_path)
    first, second = raised.value.lines
    assert "annotations_prepped_train holds no masks" in first
    assert "images_prepped_test holds no images" in second


def test_two_images_of_one_name_are_an_error(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a"])
    write_frame(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match=r"a\.png and a\.jpg have one name"):
        load_dataset(tmp_path)


def test_videos_are_blocks_of_30_that_continue_from_train_to_test(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1, 30, 31, 50], test=[1, 10, 11, 21])
    videos = [pair.video for pair in load_dataset(tmp_path).pairs]
    assert videos == ["v01", "v01", "v02", "v02", "v02", "v02", "v03", "v03"], "omitted images do not shift the test"


def test_groups_csv_assigns_groups_and_precedes_fireseg_s_numbering(tmp_path: Path) -> None:
    write_folders(tmp_path / "plain", ["a", "b", "c"])
    (tmp_path / "plain" / "groups.csv").write_text("stem,group\na,barn\nb,barn\n")
    assert [pair.video for pair in load_dataset(tmp_path / "plain").pairs] == ["barn", "barn", "c"]
    write_fireseg(tmp_path / "fireseg", train=[1, 2], test=[1])
    (tmp_path / "fireseg" / "groups.csv").write_text("stem,group\ntrain/img(2),s02\ntest/img(1),s03\n")
    assert [pair.video for pair in load_dataset(tmp_path / "fireseg").pairs] == ["v01", "s02", "s03"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file;video\na;barn\n", "expected a first line `stem,group`"),
        ("stem,group\na,\n", r"1 lines without a stem or a group \(first: 'a'\)"),
        ("stem,group\na,barn\na,yard\n", "has two groups for a: expected one line for each image"),
        ("stem,group\nz,barn\n", r"names 1 images that do not exist \(first: z\)"),
    ],
)
def test_a_bad_groups_csv_is_an_error_that_says_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    write_folders(tmp_path, ["a"])
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(UserError, match=expected):
        load_dataset(tmp_path)


def test_a_groups_csv_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a"])
    (tmp_path / "groups.csv").mkdir()
    with pytest.raises(UserError, match=r"groups\.csv could not be read \(Is a directory\)"):
        load_dataset(tmp_path)


def test_groups_csv_may_come_from_a_spreadsheet_with_spaces(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b"])
    (tmp_path / "groups.csv").write_bytes("\ufeffstem, group\r\na,barn\r\nb, barn \r\n".encode())
    assert [pair.video for pair in load_dataset(tmp_path).pairs] == ["barn", "barn"]


def test_names_pair_up_whether_an_accent_is_a_letter_of_its_own_or_not(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "fünf") for form in ("NFC", "NFD"))
    write_frame(tmp_path / "images" / f"{decomposed}.jpg")
    write_mask(tmp_path / "masks" / f"{composed}.png")
    (tmp_path / "groups.csv").write_text(f"stem,group\n{decomposed},barn\n")
    assert [(pair.name, pair.video) for pair in load_dataset(tmp_path).pairs] == [(composed, "barn")]
    write_frame(tmp_path / "images" / f"{composed}.jpg")
    with pytest.raises(UserError, match="have one name"):
        load_dataset(tmp_path)


def test_a_pair_whose_file_name_is_not_utf_8_has_a_printable_name(tmp_path: Path) -> None:
    write_folders(tmp_path, [os.fsdecode(b"f\xfcnf")])
    (pair,) = load_dataset(tmp_path).pairs
    assert pair.name == pair.video == r"f\xfcnf"
    assert pair.read()[1].any()


def test_a_file_and_a_name_that_is_too_long_are_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"set\.zip is a file: expected FireSeg's folders"):
        load_dataset(tmp_path / "set.zip")
    for load in (load_dataset, load_negatives):
        with pytest.raises(UserError, match="does not exist"):
            load(tmp_path / ("x" * 300))


def test_the_content_hash_depends_on_content_and_not_on_order_or_names(tmp_path: Path) -> None:
    for name, stems in (("one", ["a", "b"]), ("two", ["y", "x"])):
        write_folders(tmp_path / name, stems)
        write_mask(tmp_path / name / "masks" / f"{stems[0]}.png", fire=1)
    one, two = load_dataset(tmp_path / "one").pairs, load_dataset(tmp_path / "two").pairs
    before = content_hash(one)
    assert before == content_hash(two) == content_hash(one[::-1])
    assert before != content_hash(one[:1])
    write_mask(tmp_path / "one" / "masks" / "b.png", fire=0)
    assert content_hash(one) != before


def test_swapping_two_masks_changes_the_content_hash(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b"])
    write_image(tmp_path / "images" / "a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    pairs, hashes = load_dataset(tmp_path).pairs, set()
    for fire_of_a, fire_of_b in ((0, 255), (255, 0)):
        write_mask(tmp_path / "masks" / "a.png", fire=fire_of_a)
        write_mask(tmp_path / "masks" / "b.png", fire=fire_of_b)
        hashes.add(content_hash(pairs))
    assert len(hashes) == 2


@pytest.mark.parametrize("below", ["images", ""])
def test_negatives_need_no_masks_and_have_no_fire_pixels(tmp_path: Path, below: str) -> None:
    for stem in ("sun10", "sun9"):
        write_frame(tmp_path / below / f"{stem}.jpg")
    dataset = load_negatives(tmp_path)
    assert dataset.layout == "negatives"
    assert [(pair.name, pair.video) for pair in dataset.pairs] == [("sun9", "sun9"), ("sun10", "sun10")]
    frame, mask = dataset.pairs[0].read()
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.bool_ and not mask.any()


def test_groups_of_negatives_that_do_not_exist_are_refused_also_beside_their_images(tmp_path: Path) -> None:
    write_frame(tmp_path / "images" / "a.jpg")
    (tmp_path / "groups.csv").write_text("stem,group\na.jpg,road\n")
    for folder in (tmp_path, tmp_path / "images"):
        with pytest.raises(
            UserError, match=r"groups.csv names 1 images that do not exist \(first: a.jpg\): expected names"
        ):
            load_negatives(folder)
    (tmp_path / "groups.csv").write_text("stem,group\na,road\n")
    assert [pair.video for pair in load_negatives(tmp_path / "images").pairs] == ["road"]


def test_negatives_that_are_frames_of_one_video_have_one_group(tmp_path: Path) -> None:
    for stem in ("road1", "road2", "sun"):
        write_frame(tmp_path / "images" / f"{stem}.jpg")
    (tmp_path / "groups.csv").write_text("stem,group\nroad1,road\nroad2,road\n")
    assert [pair.video for pair in load_negatives(tmp_path).pairs] == ["road", "road", "sun"]


def test_a_negative_hashes_by_content_and_unlike_a_pair_with_a_mask(tmp_path: Path) -> None:
    write_folders(tmp_path / "pairs", ["a"])
    write_frame(tmp_path / "negatives" / "a.jpg")
    write_frame(tmp_path / "renamed" / "b.jpg")
    write_frame(tmp_path / "other" / "a.jpg", height=5)
    negatives, renamed, other = (load_negatives(tmp_path / name).pairs for name in ("negatives", "renamed", "other"))
    assert content_hash(negatives) == content_hash(renamed)
    assert len({content_hash(pairs) for pairs in (load_dataset(tmp_path / "pairs").pairs, negatives, other)}) == 3


def test_a_folder_without_negatives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"negatives folder .*nowhere does not exist: expected a folder of images"):
        load_negatives(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images: expected at least one"):
        load_negatives(tmp_path)
    write_folders(tmp_path, ["a"])
    with pytest.raises(UserError, match="holds masks, and negatives have none: pass it as --extra"):
        load_negatives(tmp_path)


def test_the_real_fireseg_has_its_published_parts_and_videos(fireseg_dir: Path) -> None:
    parts = load_dataset(fireseg_dir).parts
    assert {part: len(pairs) for part, pairs in parts.items()} == {"train": 500, "test": 100}
    train, test = ({pair.video for pair in parts[part]} for part in ("train", "test"))
    assert train == {f"v{number:02d}" for number in range(1, 18)}
    assert test == {"v17", "v18", "v19", "v20"}
    assert [pair.name for pair in parts["test"] if pair.video == "v17"] == [f"test/img({n})" for n in range(1, 11)]


@pytest.mark.slow
def test_the_real_fireseg_has_four_empty_masks_and_its_fire_share(fireseg_dir: Path) -> None:
    shares = {pair.name: float(pair.read()[1].mean()) for pair in load_dataset(fireseg_dir).pairs}
    empty = [name for name, share in shares.items() if share == 0]
    assert empty == ["train/img(193)", "train/img(194)", "train/img(195)", "test/img(46)"]
    for part, expected in (("train", 0.056), ("test", 0.106)):
        of_part = [share for name, share in shares.items() if name.startswith(part)]
        assert np.mean(of_part) == pytest.approx(expected, abs=0.0005)
