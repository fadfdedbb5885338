"""`fireseg-edge feedback`: from a run's fire by a verdict to folders that training takes."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.control.feedback import give_verdict, list_fires
from edge.control.feedback_export import export_feedback, tiles
from edge.images import read_gray_or_colour
from tests.support.run_cli import Done, fireseg_edge, refused

ARGUMENTS = ("--model", "tiny.tflite", "--source", "noise.avi", "--replay", "every-frame", "--config", "eager.toml")


@pytest.fixture(scope="module")
def recorded(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of a run that raised an alarm. Shared: copy it."""
    folder = tmp_path_factory.mktemp("recorded") / "events"
    assert fireseg_edge("run", *ARGUMENTS, "--clips", folder, cwd=run_folder).code == 0
    return folder


@pytest.fixture
def clips(recorded: Path, tmp_path: Path) -> Path:
    """The same in the folder of the test."""
    return Path(shutil.copytree(recorded, tmp_path / "events"))


@pytest.fixture
def loaders() -> Any:
    """How training loads folders; its packages may be missing."""
    return pytest.importorskip("train.data.fireseg")


def judge(clips: Path, verdict: str) -> str:
    """Give a verdict on the fire and return its id."""
    (fire,) = list_fires(clips)
    give_verdict(clips, fire.id, verdict, datetime(2026, 11, 22, tzinfo=UTC))
    return fire.id


def export(clips: Path) -> Done:
    return fireseg_edge("feedback", "export", "out", "--clips", clips, cwd=clips.parent)


def from_polygons(coco: dict[str, Any], image_id: int, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Draw the annotations of an image as COCO's readers do."""
    mask = np.zeros(shape, np.uint8)
    for annotation in coco["annotations"]:
        if annotation["image_id"] == image_id:
            for polygon in annotation["segmentation"]:
                cv2.fillPoly(mask, [np.array(polygon, np.int32).reshape(-1, 2)], (1,))
    return mask


def test_what_is_not_a_fire_is_exported_as_negatives_that_training_takes(clips: Path, loaders: Any) -> None:
    id_ = judge(clips, "not a fire")
    done = export(clips)
    assert done.code == 0, done.err
    masks = sorted(clips.glob("*-mask.png"))
    assert f"out/negatives: {14 * len(masks)} images of 1 event\n" in done.out
    assert "out/fires: 0 images of 0 events\n" in done.out
    negatives = loaders.load_negatives(clips.parent / "out/negatives")
    assert {(pair.video, pair.mask) for pair in negatives.pairs} == {(id_, None)}
    frames = [pair.image for pair in negatives.pairs if "x-" not in pair.image.stem]
    assert [path.name for path in frames] == [path.name.replace("-mask.png", ".jpg") for path in masks]
    assert len(negatives.pairs) == 14 * len(masks) >= 28
    for path in frames:
        assert path.read_bytes() == (clips / path.name).read_bytes()


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_tiles_of_a_frame_are_the_detectors_and_leave_nothing_out(height: int, width: int) -> None:
    frame: Any = np.arange(height * width, dtype=np.uint32).reshape(height, width)  # each pixel another number
    numbers = {"2x": 4, "3x": 9}
    for zoom, number in numbers.items():
        found = [tile for name, tile in tiles(frame) if name.startswith(zoom)]
        assert len(found) == number or min(height, width) < 3
        assert set(np.concatenate([tile.ravel() for tile in found])) == set(frame.ravel())


def test_a_fire_is_exported_with_masks_that_training_takes_and_polygons_that_draw_them(
    clips: Path, loaders: Any
) -> None:
    id_ = judge(clips, "fire")
    assert export(clips).code == 0
    out = clips.parent / "out/fires"
    dataset = loaders.load_dataset(out)
    assert {pair.video for pair in dataset.pairs} == {id_}
    coco = json.loads((out / "coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["fire"]
    assert [image["file_name"] for image in coco["images"]] == [pair.image.name for pair in dataset.pairs]
    assert all(len(part) >= 6 for annotation in coco["annotations"] for part in annotation["segmentation"])
    for pair, image in zip(dataset.pairs, coco["images"], strict=True):
        frame, mask = pair.read()
        assert (image["height"], image["width"]) == frame.shape[:2]
        predicted = read_gray_or_colour(clips / f"{pair.name}-mask.png") > 0
        assert abs(mask.mean() - predicted.mean()) < 0.1
        drawn = from_polygons(coco, image["id"], mask.shape)
        assert not (mask & (drawn == 0)).any()  # polygons fill holes, and lose nothing
    assert any(pair.read()[1].any() for pair in dataset.pairs)


def test_an_export_is_private_and_can_be_repeated_without_losing_corrected_masks(clips: Path) -> None:
    judge(clips, "fire")
    export(clips)
    out = clips.parent / "out"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [out, *out.rglob("*")]}
    assert modes == {0o700, 0o600}
    first, *_ = sorted((out / "fires/masks").iterdir())
    cv2.imwrite(str(first), np.zeros(read_gray_or_colour(first).shape[:2], np.uint8))
    assert export(clips).code == 0
    assert not read_gray_or_colour(first).any()


def test_an_export_follows_a_verdict_that_changed_or_was_taken_back(clips: Path) -> None:
    out = clips.parent / "out"
    for verdict, images in (("fire", "fires"), ("not a fire", "negatives"), ("", None)):
        judge(clips, verdict)
        assert export(clips).code == 0
        for name in ("fires", "negatives"):
            assert any((out / name / "images").iterdir()) is (name == images)
            rows = list(csv.reader((out / name / "groups.csv").open()))
            assert (len(rows) > 1) is (name == images)
    assert not any((out / "fires/masks").iterdir())


def test_frames_stay_exported_after_their_files_are_deleted(clips: Path) -> None:
    judge(clips, "fire")
    export(clips)
    for path in clips.iterdir():
        path.unlink()
    assert export(clips).code == 0
    assert len(list((clips.parent / "out/fires/images").iterdir())) >= 2


def test_a_damaged_frame_is_left_out_and_named(clips: Path) -> None:
    judge(clips, "fire")
    frame = sorted(clips.glob("*-frame-*.jpg"))[0]
    frame.write_bytes(b"")
    with pytest.warns(UserWarning, match=f"left out: .*{frame.name}"):
        export_feedback(clips, clips.parent / "out")
    assert not (clips.parent / "out/fires/images" / frame.name).exists()


def test_the_list_shows_each_fire_its_verdict_and_its_frames(clips: Path) -> None:
    id_ = judge(clips, "fire")
    (listed,) = json.loads(fireseg_edge("feedback", "list", "--clips", clips, "--json", cwd=clips).out)
    assert (listed["id"], listed["verdict"], listed["time"]) == (id_, "fire", "2026-11-22T00:00:00+00:00")
    assert listed["frames"] == len(list(clips.glob("*-mask.png")))
    assert listed["size_bytes"] == sum(path.stat().st_size for path in clips.iterdir())
    assert id_ in fireseg_edge("feedback", "list", "--clips", clips, cwd=clips).out


def test_what_cannot_be_exported_is_refused_in_one_line(clips: Path, tmp_path: Path) -> None:
    (line,) = refused(export(clips))
    assert line == f"no fire in {clips} has a verdict: give some on the live page"
    judge(clips, "fire")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.jpg").touch()
    (line,) = refused(export(clips))
    assert line == "out is not empty, and not an earlier export: pass a new folder"
    (line,) = refused(fireseg_edge("feedback", "list", cwd=tmp_path))
    assert line == "no folder of clips is configured: set [clips] folder in --config, or pass --clips"
    (tmp_path / "file").touch()
    (line,) = refused(fireseg_edge("feedback", "export", "file", "--clips", clips, cwd=tmp_path))
    assert line == "file could not be read (Not a directory): pass a new folder"
