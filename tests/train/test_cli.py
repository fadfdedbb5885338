"""`fireseg-train` as a person types it: results on stdout, one line for each mistake, and no chatter beside."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.files import sha256
from edge.images import read_gray_or_colour, read_rgb
from tests.support.run_cli import CHATTER, Here, leftovers, refused, type_in
from train.model.io import KerasPredictor, load_keras

COMMANDS = ("check", "fetch", "synth", "fit", "eval", "predict")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_shows_an_example(here: Here, command: str) -> None:
    done = here(command, "--help")
    assert done.code == 0
    assert "Example:" in done.out
    assert f"fireseg-train {command}" in done.out


def test_without_a_command_all_of_them_are_listed(here: Here) -> None:
    done = here()
    assert all(command in done.out + done.err for command in COMMANDS)


def test_check_prints_a_table(synthetic_dir: Path, tmp_path: Path) -> None:
    done = type_in(tmp_path, "check", synthetic_dir)
    assert done.code == 0, done.err
    for word in ("train", "test", "448x252", "empty masks"):
        assert word in done.out
    assert not CHATTER.search(done.err)


def test_check_prints_json_alone_where_it_is_asked_to(synthetic_dir: Path, tmp_path: Path) -> None:
    done = type_in(tmp_path, "check", synthetic_dir, "--json")
    found = json.loads(done.out)
    assert sum(part["images"] for part in found["parts"].values()) == 40
    assert found["leaks"]["videos_in_train_and_test"] == []


def test_check_lists_everything_that_is_broken(here: Here, broken_dir: Path) -> None:
    first, second = refused(here("check", broken_dir))
    assert "img(2).jpg is cut short (2000 bytes): get the whole file again" in first
    assert "img(5).png is 9x9 but its image img(5).jpg is 448x252" in second


def test_check_says_in_its_table_what_leaks(here: Here, tmp_path: Path) -> None:
    root = tmp_path / "leaky"
    for part in ("train", "test"):
        for folder, shape, suffix in (("images", (8, 8, 3), "jpg"), ("annotations", (8, 8), "png")):
            (root / f"{folder}_prepped_{part}").mkdir(parents=True)
            cv2.imwrite(str(root / f"{folder}_prepped_{part}" / f"img(1).{suffix}"), np.full(shape, 9, np.uint8))
    out = here("check", root).out
    assert "leak: video v01 is in train and in test" in out
    assert "identical images: train/img(1), test/img(1)" in out
    assert "holds 1 levels" not in out


def test_synth_paints_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        done = type_in(tmp_path, "synth", name, "--count", 6, "--seed", seed)
        assert done.code == 0, done.err
        assert "6 synthetic images and masks" in done.out
    one, two, other = (
        {path.relative_to(tmp_path / name): sha256(path) for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "other")
    )
    assert one == two
    assert one.keys() == other.keys() and one != other


def test_predict_writes_a_mask_and_an_overlay_of_each_picture(model: Path, tmp_path: Path) -> None:
    frame = np.full((60, 90, 3), 40, np.uint8)
    frame[20:40, 30:60] = (0, 0, 255)  # OpenCV's red
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)
    done = type_in(tmp_path, "predict", model, "a.png", "b.png", "--out", "masks")
    assert done.code == 0, done.err
    assert not CHATTER.search(done.err), done.err
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {
        "a-mask.png", "a-overlay.jpg", "b-mask.png", "b-overlay.jpg",
    }  # fmt: skip
    mask = read_gray_or_colour(tmp_path / "masks" / "a-mask.png")
    predictor = KerasPredictor(load_keras(model))
    expected = predictor(read_rgb(tmp_path / "a.png")) >= predictor.threshold_u8
    assert ((mask == 255) == expected).all() and set(np.unique(mask)) == {0, 255}
    assert 0.08 < (mask == 255).mean() < 0.15
    assert read_rgb(tmp_path / "masks" / "a-overlay.jpg").shape == (60, 90, 3)
    assert done.out.count("% fire") == 2


def test_predict_refuses_what_is_no_picture(here: Here, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    (line,) = refused(here("predict", model, tmp_path / "notes.jpg", "--out", tmp_path / "masks"))
    assert "notes.jpg is not a readable image" in line
    assert list((tmp_path / "masks").iterdir()) == []


@pytest.mark.parametrize("command", ["fit", "synth", "predict"])
def test_an_out_folder_that_cannot_be_written_is_refused(
    here: Here, command: str, synthetic_dir: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "below"
    picture = next((synthetic_dir / "images_prepped_test").iterdir())
    arguments: dict[str, tuple[object, ...]] = {
        "fit": ("--data", synthetic_dir, "--size", "32", "--backbone-weights", "none", "--out", out),
        "synth": (out, "--count", "6"),
        "predict": (model, picture, "--out", out),
    }
    (line,) = refused(here(command, *arguments[command]))
    assert "choose a folder that you may write to" in line
    assert (tmp_path / "file").read_text() == "in the way"
    assert not leftovers(tmp_path)


def test_a_missing_data_folder_is_one_line_from_a_shell_too(tmp_path: Path) -> None:
    for command in (("check", "nowhere"), ("fit", "--data", "nowhere")):
        done = type_in(tmp_path, *command)
        (line,) = refused(done)
        assert line.startswith("data folder nowhere does not exist: expected FireSeg's folders")
        assert done.err.count("\n") == 1
        assert done.out == ""
    assert list(tmp_path.iterdir()) == []
