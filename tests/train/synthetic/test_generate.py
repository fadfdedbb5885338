"""The procedural set: complete, the same for the same seed, and honest about what it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.images import read_gray_or_colour
from train.data.fireseg import Pair, find_broken, load_dataset
from train.data.splits import FOLDS, make_split
from train.synthetic.generate import generate

HEIGHT, WIDTH = 64, 96  # small: quick to paint


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def frames_by_scene(folder: Path) -> dict[str, list[Pair]]:
    scenes: dict[str, list[Pair]] = {}
    for pair in load_dataset(folder).pairs:
        scenes.setdefault(pair.video, []).append(pair)
    return scenes


def test_it_loads_as_fireseg_does(synthetic_dir: Path) -> None:
    dataset = load_dataset(synthetic_dir)
    assert dataset.layout == "fireseg"
    assert len(dataset.pairs) == 40
    assert find_broken(dataset.pairs) == []
    assert [pair.name for pair in dataset.parts["train"]][:2] == ["train/img(1)", "train/img(2)"]


def test_masks_are_one_channel_of_0_and_255(synthetic_dir: Path) -> None:
    for pair in load_dataset(synthetic_dir).pairs:
        assert pair.mask
        mask = read_gray_or_colour(pair.mask)
        assert mask.ndim == 2
        assert set(np.unique(mask)) <= {0, 255}


def test_a_set_of_120_holds_out_about_a_fifth_for_the_test(tmp_path: Path) -> None:
    generate(tmp_path / "set", 120, 0, height=32, width=32)
    parts = load_dataset(tmp_path / "set").parts
    assert len(parts["train"]) + len(parts["test"]) == 120
    assert 18 <= len(parts["test"]) <= 30


def test_whole_scenes_lie_on_one_side_of_every_split(synthetic_dir: Path) -> None:
    dataset = load_dataset(synthetic_dir)
    assert make_split(dataset, "official-clean").test == make_split(dataset, "official").test
    assert all(make_split(dataset, "by-video", fold=fold).test for fold in range(FOLDS))


def test_a_scene_has_several_frames_and_its_fire_flickers(synthetic_dir: Path) -> None:
    scenes = frames_by_scene(synthetic_dir)
    assert all(len(frames) >= 2 for frames in scenes.values())
    for frames in scenes.values():
        masks = [pair.read()[1] for pair in frames]
        if any(mask.any() for mask in masks):
            assert any((mask != masks[0]).any() for mask in masks[1:])


def test_about_seven_images_of_ten_burn_from_a_few_pixels_to_much_of_the_frame(synthetic_dir: Path) -> None:
    shares = np.array([pair.read()[1].mean() for pair in load_dataset(synthetic_dir).pairs])
    assert 0.6 <= (shares > 0).mean() <= 0.8
    assert shares[shares > 0].min() < 0.01
    assert 0.08 < shares.max() < 0.6


def test_flames_are_brighter_than_what_is_around_them_and_red_before_green_before_blue(synthetic_dir: Path) -> None:
    for pair in load_dataset(synthetic_dir).pairs:
        frame, mask = pair.read()
        if mask.sum() < 200:
            continue
        red, green, blue = frame[mask].mean(axis=0)
        assert red > green > blue, pair.name
        assert red > 180, pair.name
        assert red > frame[~mask].mean(axis=0)[0], pair.name


def test_images_without_fire_hold_what_colour_alone_takes_for_fire(synthetic_dir: Path) -> None:
    fooled = 0
    for pair in load_dataset(synthetic_dir).pairs:
        frame, mask = pair.read()
        if not mask.any():
            hue, saturation, value = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
            fooled += int(((hue < 22) & (saturation > 110) & (value > 150)).mean() > 0.002)
    assert fooled >= 2


def test_the_same_seed_count_and_size_give_the_same_bytes(tmp_path: Path) -> None:
    generate(tmp_path / "one", 12, 3, height=HEIGHT, width=WIDTH)
    generate(tmp_path / "two", 12, 3, height=HEIGHT, width=WIDTH)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    generate(tmp_path / "one", 12, 3, height=HEIGHT, width=WIDTH)
    generate(tmp_path / "two", 12, 4, height=HEIGHT, width=WIDTH)
    one, two = hashes(tmp_path / "one"), hashes(tmp_path / "two")
    pictures = [name for name in one if name.endswith(".jpg")]
    assert len(pictures) == 12
    assert all(one[name] != two[name] for name in pictures)


def test_pictures_have_the_size_that_was_asked_for(tmp_path: Path) -> None:
    generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH)
    assert {pair.read()[0].shape for pair in load_dataset(tmp_path / "set").pairs} == {(HEIGHT, WIDTH, 3)}


def test_progress_is_told_once_for_each_image(tmp_path: Path) -> None:
    told: list[None] = []
    generate(tmp_path / "set", 8, 0, height=HEIGHT, width=WIDTH, on_progress=lambda: told.append(None))
    assert len(told) == 8


def test_a_note_beside_it_says_that_it_is_procedural_and_no_fireseg(synthetic_dir: Path) -> None:
    note = (synthetic_dir / "README.txt").read_text()
    assert "procedural" in note
    assert "NOT FireSeg" in note
    assert "seed: 7" in note
    assert "count: 40" in note


def test_the_same_set_that_lies_there_already_is_left_alone(tmp_path: Path) -> None:
    generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH)
    image = tmp_path / "set" / "images_prepped_train" / "img(1).jpg"
    written_ns = image.stat().st_mtime_ns
    generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH)
    assert image.stat().st_mtime_ns == written_ns


@pytest.mark.parametrize(("count", "seed", "height"), [(6, 1, 64), (7, 0, 64), (6, 0, 65)])
def test_a_set_of_another_seed_count_or_size_is_not_overwritten(
    tmp_path: Path, count: int, seed: int, height: int
) -> None:
    out = tmp_path / "set"
    generate(out, 6, 0, height=HEIGHT, width=WIDTH)
    before = hashes(out)
    with pytest.raises(UserError, match="not empty"):
        generate(out, count, seed, height=height, width=WIDTH)
    assert hashes(out) == before


def test_a_folder_with_anything_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"dear to someone")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path / "photos", 6, 0, height=HEIGHT, width=WIDTH)
    assert hashes(tmp_path).keys() == {"photos/holiday.jpg"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH)
    assert len(load_dataset(tmp_path / "set").pairs) == 6


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        generate(tmp_path / "file" / "set", 6, 0, height=HEIGHT, width=WIDTH)


@pytest.mark.parametrize(("count", "seed", "height"), [(0, 0, 64), (-5, 0, 64), (6, -1, 64), (6, 0, 0)])
def test_numbers_out_of_range_are_errors_and_write_nothing(tmp_path: Path, count: int, seed: int, height: int) -> None:
    with pytest.raises(UserError, match="expected"):
        generate(tmp_path / "set", count, seed, height=height, width=WIDTH)
    assert list(tmp_path.iterdir()) == []
