"""`fireseg-train predict`: masks and overlays of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from edge.images import read_gray_or_colour, read_rgb
from tests.support.run_cli import CHATTER, Here, refused
from train.model.io import KerasPredictor, load_keras


def test_predict_writes_a_mask_and_an_overlay_of_each_picture(here: Here, model: Path, tmp_path: Path) -> None:
    frame = np.full((60, 90, 3), 40, np.uint8)
    frame[20:40, 30:60] = (0, 0, 255)  # red in OpenCV's order
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)
    done = here("predict", model, "a.png", "b.png", "--out", "masks")
    assert done.code == 0, done.err
    assert not CHATTER.search(done.err), done.err
    assert done.out.count("% fire") == 2
    files = {path.name for path in (tmp_path / "masks").iterdir()}
    assert files == {f"{name}-{file}" for name in "ab" for file in ("mask.png", "overlay.jpg")}
    mask = read_gray_or_colour(tmp_path / "masks" / "a-mask.png")
    expected = KerasPredictor(load_keras(model)).mask(read_rgb(tmp_path / "a.png"))
    assert ((mask == 255) == expected).all() and set(np.unique(mask)) == {0, 255}
    assert 0.08 < (mask == 255).mean() < 0.15
    assert read_rgb(tmp_path / "masks" / "a-overlay.jpg").shape == (60, 90, 3)


def test_predict_refuses_a_file_that_is_not_a_picture(here: Here, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("text")
    (line,) = refused(here("predict", model, tmp_path / "notes.jpg", "--out", tmp_path / "masks"))
    assert "notes.jpg is not a readable image" in line
    assert list((tmp_path / "masks").iterdir()) == []


def test_predict_goes_on_after_a_broken_picture_and_names_it_at_the_end(
    here: Here, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("text")
    cv2.imwrite(str(tmp_path / "sound.png"), np.zeros((20, 20, 3), np.uint8))
    done = here("predict", model, "notes.jpg", "sound.png", "--out", "masks")
    line, count = refused(done)
    assert "notes.jpg is not a readable image" in line and count == "1 of 2 images could not be read"
    assert "sound.png: 0.00 % fire" in done.out
    assert (tmp_path / "masks" / "sound-mask.png").is_file()


def test_predict_takes_names_that_are_not_utf_8(here: Here, model: Path, tmp_path: Path) -> None:
    data = bytes(cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1])
    picture, latin_1_model = (tmp_path / os.fsdecode(name) for name in (b"f\xfcnf.png", b"f\xfcnf.keras"))
    picture.write_bytes(data)
    model.rename(latin_1_model)
    done = here("predict", latin_1_model, picture, "--out", "masks")
    assert done.code == 0, done.err
    assert {os.fsencode(path.name) for path in (tmp_path / "masks").iterdir()} == {
        b"f\xfcnf-mask.png", b"f\xfcnf-overlay.jpg"
    }  # fmt: skip
