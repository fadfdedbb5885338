"""The synthetic set: complete, identical for the same seed, and labelled as synthetic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.images import Frame, Mask, read_gray_or_colour
from train.data.fireseg import load_dataset
from train.data.splits import make_split
from train.synthetic.generate import generate

HEIGHT, WIDTH = 48, 64  # small, for speed


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of six images. Read only."""
    return generate(tmp_path_factory.mktemp("small") / "set", 6, 0, height=HEIGHT, width=WIDTH).root


@pytest.fixture(scope="module")
def images(synthetic_dir: Path) -> list[tuple[Frame, Mask]]:
    """The decoded pairs of the shared set. Read only."""
    return [pair.read() for pair in load_dataset(synthetic_dir).pairs]


def test_it_loads_like_fireseg_with_masks_of_0_and_255(synthetic_dir: Path) -> None:
    dataset = load_dataset(synthetic_dir)
    assert dataset.layout == "fireseg"
    assert [pair.name for pair in dataset.parts["train"]][:2] == ["train/img(1)", "train/img(2)"]
    assert len(dataset.pairs) == 40
    masks = [read_gray_or_colour(pair.mask) for pair in dataset.pairs if pair.mask]
    assert {mask.shape for mask in masks} == {(252, 448)}
    assert {int(level) for mask in masks for level in np.unique(mask)} == {0, 255}


def test_about_20_percent_is_for_testing_in_whole_scenes(synthetic_dir: Path) -> None:
    dataset = load_dataset(synthetic_dir)
    official = make_split(dataset, "official")
    assert 5 <= len(official.test) <= 10
    assert make_split(dataset, "official-clean").test == official.test


def test_a_scene_has_several_frames_and_its_fire_flickers(
    synthetic_dir: Path, images: list[tuple[Frame, Mask]]
) -> None:
    scenes: dict[str, list[Mask]] = {}
    for pair, (_, mask) in zip(load_dataset(synthetic_dir).pairs, images, strict=True):
        scenes.setdefault(pair.video, []).append(mask)
    for masks in scenes.values():
        assert len(masks) >= 2
        assert not masks[0].any() or any((mask != masks[0]).any() for mask in masks[1:])


def test_fire_is_in_70_percent_of_the_images_bright_and_red_from_small_to_large(
    images: list[tuple[Frame, Mask]],
) -> None:
    shares = np.array([mask.mean() for _, mask in images])
    assert 0.6 <= (shares > 0).mean() <= 0.8
    assert shares[shares > 0].min() < 0.01
    assert 0.08 < shares.max() < 0.6
    for frame, mask in images:
        if mask.sum() >= 200:
            red, green, blue = frame[mask].mean(axis=0)
            assert red > green > blue and red > 180
            assert red > frame[~mask].mean(axis=0)[0]


def test_images_without_fire_contain_its_colours(images: list[tuple[Frame, Mask]]) -> None:
    false_alarms = 0
    for frame, mask in images:
        if not mask.any():
            hue, saturation, value = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
            false_alarms += int(((hue < 22) & (saturation > 110) & (value > 150)).mean() > 0.002)
    assert false_alarms >= 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small: Path, tmp_path: Path) -> None:
    steps: list[None] = []
    generate(tmp_path / "again", 6, 0, height=HEIGHT, width=WIDTH, on_progress=lambda: steps.append(None))
    assert len(steps) == 6
    assert hashes(tmp_path / "again") == hashes(small)
    generate(tmp_path / "other", 6, 1, height=HEIGHT, width=WIDTH)
    other = hashes(tmp_path / "other")
    images = [name for name in other if name.endswith(".jpg")]
    assert len(images) == 6
    assert all(hashes(small)[name] != other[name] for name in images)
    assert {pair.read()[0].shape for pair in load_dataset(small).pairs} == {(HEIGHT, WIDTH, 3)}


def test_a_seed_gives_the_images_of_earlier_versions(images: list[tuple[Frame, Mask]]) -> None:
    # Shipped models are calibrated on them. Other processors round differently in a few pixels.
    assert sum(int(mask.sum()) for _, mask in images) == pytest.approx(178_930, rel=1e-3)


def test_the_readme_says_that_it_is_procedural_and_not_fireseg(small: Path) -> None:
    note = (small / "README.txt").read_text()
    assert all(text in note for text in ("procedural", "NOT FireSeg", "seed: 0", "count: 6", f"{WIDTH}x{HEIGHT}"))


def test_an_existing_set_is_reused_for_the_same_seed_count_and_size_alone(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    generate(small, 6, 0, height=HEIGHT, width=WIDTH)
    for count, seed, height in ((6, 1, HEIGHT), (7, 0, HEIGHT), (6, 0, HEIGHT + 1)):
        with pytest.raises(UserError, match="not empty"):
            generate(small, count, seed, height=height, width=WIDTH)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_a_folder_with_other_files_is_left_alone_and_an_empty_one_filled(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path / "photos", 6, 0, height=HEIGHT, width=WIDTH)
    assert hashes(tmp_path).keys() == {"photos/holiday.jpg"}
    (tmp_path / "empty").mkdir()
    assert len(generate(tmp_path / "empty", 6, 0, height=HEIGHT, width=WIDTH).pairs) == 6


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", 6, 0, height=HEIGHT, width=WIDTH, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-5, 0), (6, -1)])
def test_arguments_out_of_range_are_errors_and_write_nothing(tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(UserError, match="expected"):
        generate(tmp_path / "set", count, seed, height=HEIGHT, width=WIDTH)
    assert list(tmp_path.iterdir()) == []
