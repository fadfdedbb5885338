"""Folders on disk -> checked pairs: layouts, masks of all kinds that circulate, and errors that name the file."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_picture
from train.data.fireseg import content_hash, find_broken, load_dataset, load_negatives, read_mask

HEIGHT, WIDTH = 12, 16


def write_image(path: Path, *, height: int = HEIGHT, width: int = WIDTH) -> None:
    write_picture(path, np.full((height, width, 3), 90, np.uint8))


def write_mask(path: Path, *, fire: int = 255, height: int = HEIGHT, width: int = WIDTH) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 3:7] = fire
    write_picture(path, mask)


def write_fireseg(root: Path, train: list[int], test: list[int], *, masks: str = "annotations_prepped") -> None:
    for part, numbers in (("train", train), ("test", test)):
        for number in numbers:
            write_image(root / f"images_prepped_{part}" / f"img({number}).jpg")
            write_mask(root / f"{masks}_{part}" / f"img({number}).png")


def write_folders(root: Path, stems: list[str]) -> None:
    for stem in stems:
        write_image(root / "images" / f"{stem}.jpg")
        write_mask(root / "masks" / f"{stem}.png")


def test_firesegs_own_layout_gives_both_parts_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[10, 2, 1], test=[1])
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "fireseg"
    assert [pair.name for pair in dataset.pairs] == ["train/img(1)", "train/img(2)", "train/img(10)", "test/img(1)"]
    assert {part: len(pairs) for part, pairs in dataset.parts.items()} == {"train": 3, "test": 1}


def test_the_copy_with_binary_annotations_is_read_too(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1], test=[1], masks="annotations_binary")
    assert [pair.mask and pair.mask.parent.name for pair in load_dataset(tmp_path).pairs] == [
        "annotations_binary_train",
        "annotations_binary_test",
    ]


def test_plain_folders_give_one_part_in_natural_order(tmp_path: Path) -> None:
    write_folders(tmp_path, ["fire10", "fire9", "barn"])
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "folders"
    assert [pair.name for pair in dataset.pairs] == ["barn", "fire9", "fire10"]
    assert {pair.part for pair in dataset.pairs} == {"all"}


def test_a_pair_reads_as_an_rgb_frame_and_a_boolean_mask_of_one_size(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a"])
    frame, mask = load_dataset(tmp_path).pairs[0].read()
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.bool_
    assert mask.sum() == 12


@pytest.mark.parametrize("fire", [1, 255])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masks_of_0_and_1_or_255_in_any_number_of_channels_mean_the_same(
    tmp_path: Path, fire: int, channels: int
) -> None:
    path = tmp_path / "mask.png"
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:5, 3:7] = fire
    stacked = mask if channels == 1 else np.dstack([mask] * 3)
    if channels == 4:
        stacked = np.dstack([stacked, np.full_like(mask, 255)])  # opaque everywhere: alpha is not fire
    path.write_bytes(bytes(cv2.imencode(".png", stacked)[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_mask(path) == (mask > 0)).all()


def test_fire_in_one_colour_channel_alone_is_fire(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[2:5, 3:7, 0] = 255
    write_picture(path, red)
    assert read_mask(path).sum() == 12


@pytest.mark.parametrize("fire", [0, 255])
def test_a_mask_of_one_level_is_all_or_nothing_and_no_reason_to_warn(tmp_path: Path, fire: int) -> None:
    path = tmp_path / "mask.png"
    write_picture(path, np.full((HEIGHT, WIDTH), fire, np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_mask(path) == (fire > 0)).all()


@pytest.mark.parametrize("levels", [(0, 128), (0, 7, 255), (0, 1, 255)])
def test_values_between_are_fire_but_worth_a_warning_that_names_the_file(
    tmp_path: Path, levels: tuple[int, ...]
) -> None:
    path = tmp_path / "soft.png"
    values = np.resize(np.array(levels, np.uint8), (HEIGHT, WIDTH))
    write_picture(path, values)
    with pytest.warns(UserWarning, match=rf"soft\.png holds {len(levels)} levels"):
        mask = read_mask(path)
    assert (mask == (values > 0)).all()


def test_every_file_without_a_partner_is_listed_at_once(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1, 2, 3], test=[1, 2])
    (tmp_path / "annotations_prepped_train" / "img(2).png").unlink()
    (tmp_path / "images_prepped_train" / "img(3).jpg").unlink()
    (tmp_path / "annotations_prepped_test" / "img(1).png").unlink()
    with pytest.raises(UserError) as raised:
        load_dataset(tmp_path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert "images_prepped_train/img(2).jpg has no mask" in lines[0]
    assert "annotations_prepped_train/img(3).png has no image" in lines[1]
    assert "images_prepped_test/img(1).jpg has no mask" in lines[2]


def test_a_mask_of_another_size_than_its_image_is_an_error_with_both_sizes(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a"])
    write_mask(tmp_path / "masks" / "a.png", height=HEIGHT, width=WIDTH + 1)
    with pytest.raises(UserError, match=r"a\.png is 17x12 but its image a\.jpg is 16x12"):
        load_dataset(tmp_path).pairs[0].read()


def test_all_broken_files_are_found_in_one_go(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b", "c", "d"])
    write_mask(tmp_path / "masks" / "a.png", width=WIDTH + 1)
    whole = (tmp_path / "images" / "b.jpg").read_bytes()
    (tmp_path / "images" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "masks" / "d.png").write_text("not a mask")
    problems = find_broken(load_dataset(tmp_path).pairs)
    assert len(problems) == 3
    assert [name for name in ("a.png", "b.jpg", "d.png") if any(name in text for text in problems)] == [
        "a.png",
        "b.jpg",
        "d.png",
    ]


def test_a_folder_that_does_not_exist_is_an_error_that_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*fireseg-train fetch"):
        load_dataset(tmp_path / "gone")


def test_an_empty_folder_is_an_error_that_names_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images_prepped_train/ .* images/ and masks/"):
        load_dataset(tmp_path)


def test_folders_without_images_and_without_masks_are_errors_that_name_them(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1], test=[])
    (tmp_path / "images_prepped_test").mkdir()
    (tmp_path / "annotations_prepped_train" / "img(1).png").unlink()
    with pytest.raises(UserError) as raised:
        load_dataset(tmp_path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert "annotations_prepped_train holds no masks" in lines[0]
    assert "images_prepped_test holds no images" in lines[1]


def test_videos_are_blocks_of_30_that_run_on_from_train_to_test(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=list(range(1, 51)), test=list(range(1, 22)))
    videos = {pair.name: pair.video for pair in load_dataset(tmp_path).pairs}
    assert videos["train/img(1)"] == videos["train/img(30)"] == "v01"
    assert videos["train/img(31)"] == videos["train/img(50)"] == "v02"
    assert videos["test/img(1)"] == videos["test/img(10)"] == "v02", "the video that lies on both sides"
    assert videos["test/img(11)"] == videos["test/img(21)"] == "v03"


def test_leaving_out_train_images_does_not_shift_the_videos_of_the_test(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[n for n in range(1, 51) if n not in (3, 4, 5)], test=[10, 11])
    videos = {pair.name: pair.video for pair in load_dataset(tmp_path).pairs}
    assert (videos["test/img(10)"], videos["test/img(11)"]) == ("v02", "v03")


def test_groups_csv_says_which_images_belong_together(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b", "c"])
    (tmp_path / "groups.csv").write_text("stem,group\na,barn\nb,barn\n")
    assert [pair.video for pair in load_dataset(tmp_path).pairs] == ["barn", "barn", "c"]


def test_groups_csv_overrules_firesegs_numbering(tmp_path: Path) -> None:
    write_fireseg(tmp_path, train=[1, 2], test=[1])
    (tmp_path / "groups.csv").write_text("stem,group\ntrain/img(2),s02\ntest/img(1),s03\n")
    assert [pair.video for pair in load_dataset(tmp_path).pairs] == ["v01", "s02", "s03"]


def test_groups_csv_without_its_columns_is_an_error_that_says_which(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a"])
    (tmp_path / "groups.csv").write_text("file;video\na;barn\n")
    with pytest.raises(UserError, match="expected a first line `stem,group`"):
        load_dataset(tmp_path)


def test_the_content_hash_depends_on_content_and_not_on_order_or_names(tmp_path: Path) -> None:
    for name, stems in (("one", ["a", "b"]), ("two", ["y", "x"])):
        write_folders(tmp_path / name, stems)
        write_mask(tmp_path / name / "masks" / f"{stems[0]}.png", fire=1)
    one, two = load_dataset(tmp_path / "one").pairs, load_dataset(tmp_path / "two").pairs
    assert content_hash(one) == content_hash(two) == content_hash(one[::-1])
    assert content_hash(one) != content_hash(one[:1])


def test_one_changed_mask_changes_the_content_hash(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b"])
    pairs = load_dataset(tmp_path).pairs
    before = content_hash(pairs)
    write_mask(tmp_path / "masks" / "b.png", fire=0)
    assert content_hash(pairs) != before


def test_swapping_two_masks_changes_the_content_hash(tmp_path: Path) -> None:
    write_folders(tmp_path, ["a", "b"])
    write_picture(tmp_path / "images" / "a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write_mask(tmp_path / "masks" / "a.png", fire=0)
    pairs = load_dataset(tmp_path).pairs
    before = content_hash(pairs)
    write_mask(tmp_path / "masks" / "a.png", fire=255)
    write_mask(tmp_path / "masks" / "b.png", fire=0)
    assert content_hash(pairs) != before


def test_the_real_fireseg_has_its_published_parts_and_videos(fireseg_dir: Path) -> None:
    parts = load_dataset(fireseg_dir).parts
    assert {part: len(pairs) for part, pairs in parts.items()} == {"train": 500, "test": 100}
    train, test = ({pair.video for pair in parts[part]} for part in ("train", "test"))
    assert train == {f"v{number:02d}" for number in range(1, 18)}
    assert test == {"v17", "v18", "v19", "v20"}
    assert [pair.name for pair in parts["test"] if pair.video == "v17"] == [f"test/img({n})" for n in range(1, 11)]


def test_the_real_fireseg_has_four_empty_masks_and_its_share_of_fire(fireseg_dir: Path) -> None:
    shares = {pair.name: float(pair.read()[1].mean()) for pair in load_dataset(fireseg_dir).pairs}
    empty = [name for name, share in shares.items() if share == 0]
    assert empty == ["train/img(193)", "train/img(194)", "train/img(195)", "test/img(46)"]
    for part, expected in (("train", 0.056), ("test", 0.106)):
        of_part = [share for name, share in shares.items() if name.startswith(part)]
        assert np.mean(of_part) == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize("below", ["images", ""])
def test_pictures_without_flames_need_no_masks_and_none_of_their_pixels_burns(tmp_path: Path, below: str) -> None:
    for stem in ("sun10", "sun9"):
        write_image(tmp_path / below / f"{stem}.jpg")
    dataset = load_negatives(tmp_path)
    assert dataset.layout == "negatives"
    assert [(pair.name, pair.video) for pair in dataset.pairs] == [("sun9", "sun9"), ("sun10", "sun10")]
    frame, mask = dataset.pairs[0].read()
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.bool_ and not mask.any()


def test_a_picture_known_not_to_burn_hashes_unlike_one_with_a_mask_and_by_its_content(tmp_path: Path) -> None:
    write_folders(tmp_path / "pairs", ["a"])
    write_image(tmp_path / "negatives" / "a.jpg")
    write_image(tmp_path / "renamed" / "b.jpg")
    write_image(tmp_path / "other" / "a.jpg", height=5)
    pairs = load_dataset(tmp_path / "pairs").pairs
    negatives, renamed, other = (load_negatives(tmp_path / name).pairs for name in ("negatives", "renamed", "other"))
    assert content_hash(negatives) == content_hash(renamed)
    assert len({content_hash(found) for found in (pairs, negatives, other)}) == 3


def test_a_negative_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "sun.jpg").write_text("no picture")
    assert find_broken(load_negatives(tmp_path).pairs) == [
        f"{tmp_path / 'sun.jpg'} is not a picture that can be read: expected a whole JPEG, PNG, BMP, WebP or TIFF"
    ]


def test_folders_that_are_no_negatives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"negatives folder .*nowhere does not exist: expected a folder of pictures"):
        load_negatives(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images: expected at least one"):
        load_negatives(tmp_path)
    write_folders(tmp_path, ["a"])
    with pytest.raises(UserError, match="holds masks, and negatives have none: pass it as --extra"):
        load_negatives(tmp_path)
