"""`fireseg-edge` as a person runs it: what it writes, what it says, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.images import read_gray_or_colour, read_rgb, write_picture
from edge.model.card import split_model
from edge.model.segmenter import Segmenter

COMMANDS = ("segment", "bench", "run", "doctor")
WAIT_S = 60  # for what takes a second on an idle machine


def command() -> str:
    path = shutil.which("fireseg-edge", path=sysconfig.get_path("scripts"))
    assert path, "fireseg-edge is not installed beside this Python: run `pip install -e .[dev]`"
    return path


def fireseg_edge(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [command(), *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=WAIT_S
    )


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 120x80 px that the tiny network calls half fire."""
    path = tmp_path / "photos" / "campfire.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    write_picture(path, cv2.resize(noise, (120, 80)).astype(np.uint8))
    return path


def test_segment_writes_a_mask_and_an_overlay_and_prints_a_table(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    done = fireseg_edge("segment", models["int8"], photo, "--out", "masks", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert files_in(tmp_path / "masks") == ["campfire-mask.png", "campfire-overlay.jpg"]
    expected = Segmenter(models["int8"]).mask(read_rgb(photo))
    assert np.array_equal(read_gray_or_colour(tmp_path / "masks/campfire-mask.png"), expected * np.uint8(255))
    assert read_rgb(tmp_path / "masks/campfire-overlay.jpg").shape == (80, 120, 3)
    assert "tiny-int8.tflite on ai-edge-litert" in done.stdout
    assert f"{expected.mean() * 100:.2f}" in done.stdout
    assert "campfire.jpg" in done.stdout


def test_segment_prints_json_a_program_can_read(models: dict[str, Path], photo: Path, tmp_path: Path) -> None:
    other = photo.with_name("lamp.jpg")
    shutil.copy(photo, other)
    done = fireseg_edge("segment", models["int8"], photo, other, "--out", "masks", "--json", cwd=tmp_path)
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert [row["image"] for row in rows] == [str(photo), str(other)]
    assert rows[0]["fire_share"] == pytest.approx(Segmenter(models["int8"]).mask(read_rgb(photo)).mean(), abs=1e-6)
    assert all((tmp_path / row[kind]).is_file() for row in rows for kind in ("mask", "overlay"))


def test_segment_serves_a_model_without_a_card_with_a_warning_of_one_line(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(split_model(models["int8"])[0])
    done = fireseg_edge("segment", plain, photo, "--out", "masks", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert "carries no card" in line


MISTAKES = {
    "no such model": (["segment", "gone.tflite", "photos/campfire.jpg"], "gone.tflite could not be read"),
    "a model of another kind": (["segment", "notes.png", "photos/campfire.jpg"], "notes.png is not a TFLite model"),
    "no such picture": (["segment", "model.tflite", "gone.jpg"], "gone.jpg could not be read"),
    "a picture cut short": (["segment", "model.tflite", "half.jpg"], "half.jpg is cut short"),
    "text under a picture's name": (["segment", "model.tflite", "notes.png"], "notes.png is not a picture"),
    "pictures of one name": (
        ["segment", "model.tflite", "photos/campfire.jpg", "again/campfire.jpg"],
        "would both be written as campfire",
    ),
    "a folder below a file": (
        ["segment", "model.tflite", "photos/campfire.jpg", "--out", "notes.png/masks"],
        "notes.png/masks could not be written",
    ),
    "no threads": (["bench", "model.tflite", "--threads", "0"], "0 threads: expected at least 1"),
    "an unknown runtime": (["bench", "model.tflite", "--runtime", "onnx"], "unknown runtime 'onnx'"),
    "a model cut short": (["bench", "half.tflite"], "half.tflite is cut short or damaged"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2_and_writes_nothing(
    models: dict[str, Path], photo: Path, tmp_path: Path, mistake: str
) -> None:
    arguments, told = MISTAKES[mistake]
    shutil.copy(models["int8"], tmp_path / "model.tflite")
    (tmp_path / "half.tflite").write_bytes(models["int8"].read_bytes()[:2000])
    (tmp_path / "half.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "notes.png").write_text("not a picture")
    shutil.copytree(photo.parent, tmp_path / "again")
    before = files_in(tmp_path)
    done = fireseg_edge(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("warning: "))
    assert line.startswith("error: ")
    assert told in line
    assert files_in(tmp_path) == before


def test_a_broken_picture_among_others_leaves_the_others_whole(
    models: dict[str, Path], photo: Path, tmp_path: Path
) -> None:
    broken = photo.with_name("broken.jpg")
    broken.write_bytes(photo.read_bytes()[:-100])
    done = fireseg_edge("segment", models["int8"], photo, broken, "--out", "masks", cwd=tmp_path)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.strip()] == [
        f"error: {broken} is cut short ({broken.stat().st_size} bytes): get the whole file again"
    ]
    assert files_in(tmp_path / "masks") == ["campfire-mask.png", "campfire-overlay.jpg"]


@pytest.mark.parametrize("arguments", [["segment"], ["bench"], ["bench", "model.tflite", "--fast"], ["sgement"]])
def test_a_wrong_command_line_shows_the_usage_and_ends_in_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    done = fireseg_edge(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: fireseg-edge" in done.stderr
    assert "Traceback" not in done.stderr


def test_bench_prints_a_table_of_stages(models: dict[str, Path], tmp_path: Path) -> None:
    done = fireseg_edge("bench", models["int8"], "--threads", "1", "--seconds", "0", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in ("resize the frame", "run the network", "whole frame", "median ms"))


def test_bench_prints_json_a_program_can_read(models: dict[str, Path], tmp_path: Path) -> None:
    done = fireseg_edge("bench", models["int8"], "--threads", "1", "--seconds", "0", "--json", cwd=tmp_path)
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert {"model", "runtime", "threads", "cpu", "frame", "stages"} <= facts.keys()
    assert (facts["threads"], facts["frame"]) == (1, "1280x720")
    assert list(facts["stages"]) == ["resize the frame", "run the network", "whole frame"]
    for stage in facts["stages"].values():
        assert stage["runs"] >= 50
        assert 0 < stage["median_ms"] <= stage["p90_ms"] <= stage["p99_ms"]
        assert stage["frames_per_s"] > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_an_example_that_is_a_command_line(tmp_path: Path, name: str) -> None:
    done = fireseg_edge(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: fireseg-edge {name} " in done.stdout


def test_the_help_lists_every_command_and_warns_that_lives_must_not_depend_on_it(tmp_path: Path) -> None:
    done = fireseg_edge("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert "Not a life-safety device" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc to know when the model is loaded")
def test_ctrl_c_ends_a_measurement_with_exit_code_130_and_no_traceback(models: dict[str, Path], tmp_path: Path) -> None:
    arguments = [command(), "bench", str(models["int8"]), "--seconds", str(WAIT_S)]
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        try:
            gives_up_s = time.monotonic() + WAIT_S / 2
            while "ai_edge_litert" not in Path(f"/proc/{bench.pid}/maps").read_text():
                assert bench.poll() is None
                assert time.monotonic() < gives_up_s
                time.sleep(0.05)
            time.sleep(0.5)
            bench.send_signal(signal.SIGINT)
            out, err = bench.communicate(timeout=WAIT_S / 2)
        finally:
            bench.kill()
    assert bench.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1
