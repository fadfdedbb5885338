"""`fireseg-edge segment`: what it writes and prints, and one line for each error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.images import read_gray_or_colour, read_rgb, write_image
from edge.model.card import split_model
from edge.model.segmenter import Segmenter
from tests.support.run_cli import fireseg_edge, refused


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of 120x80 px, about half of it fire for the tiny network."""
    path = tmp_path / "photos" / "campfire.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    write_image(path, cv2.resize(noise, (120, 80)).astype(np.uint8))
    return path


def test_it_writes_a_mask_and_an_overlay_and_prints_a_table(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    done = fireseg_edge("segment", "--model", models["int8"], photo, "--out", "masks", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert files_in(tmp_path / "masks") == ["campfire-mask.png", "campfire-overlay.jpg"]
    expected = Segmenter(models["int8"]).mask(read_rgb(photo))
    assert np.array_equal(read_gray_or_colour(tmp_path / "masks/campfire-mask.png"), expected * np.uint8(255))
    assert read_rgb(tmp_path / "masks/campfire-overlay.jpg").shape == (80, 120, 3)
    assert "tiny-int8.tflite on ai-edge-litert" in done.out
    assert f"{expected.mean() * 100:.2f}" in done.out
    assert "campfire.jpg" in done.out


def test_it_prints_json_and_warns_of_a_model_without_a_card(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    other = photo.with_name("lamp.jpg")
    shutil.copy(photo, other)
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(split_model(models["int8"])[0])
    done = fireseg_edge("segment", "--model", plain, photo, other, "--out", "masks", "--json", cwd=tmp_path)
    assert done.code == 0
    assert done.err.startswith(f"warning: {plain} carries no card")
    rows = json.loads(done.out)
    assert [row["image"] for row in rows] == [str(photo), str(other)]
    assert rows[0]["fire_share"] == pytest.approx(Segmenter(models["int8"]).mask(read_rgb(photo)).mean(), abs=1e-6)
    assert all((tmp_path / row[kind]).is_file() for row in rows for kind in ("mask", "overlay"))


MISTAKES = {
    "missing model": (["segment", "--model", "gone.tflite", "photos/campfire.jpg"], "gone.tflite could not be read"),
    "not a model": (["segment", "--model", "notes.png", "photos/campfire.jpg"], "notes.png is not a TFLite model"),
    "missing image": (["segment", "--model", "model.tflite", "gone.jpg"], "gone.jpg could not be read"),
    "truncated image": (["segment", "--model", "model.tflite", "half.jpg"], "half.jpg is cut short"),
    "text named as an image": (["segment", "notes.png"], "notes.png is not a readable image"),
    "a model among the images": (["segment", "model.tflite", "photos/campfire.jpg"], "write `--model model.tflite`"),
    "two images of one name": (
        ["segment", "--model", "model.tflite", "photos/campfire.jpg", "again/campfire.jpg"],
        "would both be written as campfire",
    ),
    "folder below a file": (
        ["segment", "--model", "model.tflite", "photos/campfire.jpg", "--out", "notes.png/masks"],
        "notes.png/masks could not be written",
    ),
    "no threads": (["bench", "--model", "model.tflite", "--threads", "0"], "0 threads: expected at least 1"),
    "unknown runtime": (["bench", "--model", "model.tflite", "--runtime", "onnx"], "runtime 'onnx'"),
    "truncated model": (["bench", "--model", "half.tflite"], "half.tflite is cut short or damaged"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2_and_writes_nothing(
    models: dict[str, Path], photo: Path, tmp_path: Path, mistake: str
) -> None:
    arguments, expected = MISTAKES[mistake]
    shutil.copy(models["int8"], tmp_path / "model.tflite")
    (tmp_path / "half.tflite").write_bytes(models["int8"].read_bytes()[:2000])
    (tmp_path / "half.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "notes.png").write_text("not an image")
    shutil.copytree(photo.parent, tmp_path / "again")
    before = files_in(tmp_path)
    done = fireseg_edge(*arguments, cwd=tmp_path)
    (line,) = refused(done)
    assert expected in line
    assert done.out == ""
    assert files_in(tmp_path) == before


def test_broken_images_leave_the_results_of_the_others_and_are_named_and_counted(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    broken, gone = photo.with_name("broken.jpg"), photo.with_name("gone.jpg")
    broken.write_bytes(photo.read_bytes()[:-100])
    done = fireseg_edge(
        "segment", "--model", models["int8"], broken, photo, gone, "--out", "masks", "--json", cwd=tmp_path
    )
    assert refused(done) == [
        f"{broken} is cut short ({broken.stat().st_size} bytes): copy or download it again",
        f"{gone} could not be read (No such file or directory): check the path",
        "2 of 3 images could not be read",
    ]
    assert [row["image"] for row in json.loads(done.out)] == [str(photo)]
    assert files_in(tmp_path / "masks") == ["campfire-mask.png", "campfire-overlay.jpg"]


def test_a_model_that_crashes_the_interpreter_is_one_error_line(
    models: dict[str, Path], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.model.proof.Segmenter", lambda *_, **__: os.abort())
    (error,) = refused(fireseg_edge("segment", photo, "--model", models["int8"], cwd=tmp_path))
    assert "crashes the interpreter (SIGABRT): export the model again, or copy it again" in error
    assert files_in(tmp_path) == ["campfire.jpg"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_name_that_is_not_utf8_is_read_written_and_printed(
    models: dict[str, Path], photo: Path, tmp_path: Path, options: list[str]
) -> None:
    latin1 = photo.rename(photo.with_name(os.fsdecode(b"caf\xe9.jpg")))
    done = fireseg_edge("segment", "--model", models["int8"], latin1, "--out", "masks", *options, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert r"caf\xe9.jpg" in done.out or json.loads(done.out)[0]["image"] == str(latin1)
    done.out.encode()
    assert files_in(tmp_path / "masks") == [os.fsdecode(b"caf\xe9-mask.png"), os.fsdecode(b"caf\xe9-overlay.jpg")]
