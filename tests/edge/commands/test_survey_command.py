"""`fireseg-edge survey`: a picture, a table and JSON; a second survey beside the first; mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.commands.options import load_segmenter
from edge.commands.survey import present_view
from edge.config import load_config
from edge.evaluation.survey_picture import MARGIN, MAX_PANELS, WIDTH, read_surveys, write_surveys
from edge.images import read_rgb, write_image
from tests.support.run_cli import Done, fireseg_edge, leftovers, refused

QUICK = ("--grid", "2x2", "--sizes", "20,50", "--jobs", 1)
LINE = ("--width-m", 4, "--line", "0.1,0.8,0.6,0.8")
LEFT = "[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey wall as an image, with the noise of a sensor. Shared."""
    noise = np.random.default_rng(0).integers(0, 4, (240, 320, 3), np.uint8)
    path = tmp_path_factory.mktemp("view") / "wall.png"
    write_image(path, np.full((240, 320, 3), (70, 66, 60), np.uint8) + noise)
    return path


def run_survey(*arguments: object, cwd: Path) -> Done:
    return fireseg_edge("survey", *QUICK, "--model", "small", *arguments, cwd=cwd)


def as_json(*arguments: object, cwd: Path) -> dict[str, Any]:
    done = run_survey(*arguments, "--json", cwd=cwd)
    assert done.code == 0, done
    values: dict[str, Any] = json.loads(done.out)
    return values


def test_the_small_model_sees_large_flames_in_every_cell(view: Path, tmp_path: Path) -> None:
    values = as_json("--source", view, *LINE, cwd=tmp_path)
    assert (values["watched"], values["blind"], values["states"]) == (4, 0, [["alarms", "alarms"]] * 2)
    assert {size for row in values["smallest"] for size in row} <= {0.2, 0.5}
    # The line is half of the frame's width, 160 px for 4 m; 20 % of the height is 48 px.
    assert values["heights_m"] == [1.2, 3.0]
    assert values["passes"] > 0
    assert read_rgb(tmp_path / "survey.png").shape[1] == WIDTH


def test_the_table_shows_the_view_row_by_row_and_a_summary(view: Path, tmp_path: Path) -> None:
    (tmp_path / "left.toml").write_text(f"[[ignored]]\npolygon = {LEFT}\n")
    done = run_survey("--source", view, "--config", "left.toml", *LINE, cwd=tmp_path)
    assert done.code == 0, done
    rows = [line for line in done.out.splitlines() if "%" in line and "│" in line]
    assert len(rows) == 2
    assert all(row.split("│")[1].strip() == "" and row.split("│")[2].strip() in ("20 %", "50 %") for row in rows)
    assert "smallest flame in half of 2 cells: " in done.out
    assert "at the line); 0 cells raise no alarm at any size" in done.out
    assert "drawn in survey.png\n" in done.out
    assert "left.toml, 10 fps" in done.out


def test_a_second_survey_is_placed_beside_the_first(view: Path, tmp_path: Path) -> None:
    day = as_json("--source", view, cwd=tmp_path)
    first = read_rgb(tmp_path / "survey.png")
    (tmp_path / "tall.png").write_bytes(cv2.imencode(".png", np.full((320, 240, 3), 9, np.uint8))[1].tobytes())
    night = as_json("--source", "tall.png", cwd=tmp_path)
    both = read_surveys(tmp_path / "survey.png")
    assert both is not None
    picture, records = both
    assert picture.shape[1] == 2 * WIDTH + MARGIN
    assert picture.shape[0] > first.shape[0]
    assert np.array_equal(picture[: first.shape[0], :WIDTH], first)
    assert [record["smallest"] for record in records] == [day["smallest"], night["smallest"]]
    as_json("--source", view, "--fresh", cwd=tmp_path)
    assert read_rgb(tmp_path / "survey.png").shape == first.shape
    assert leftovers(tmp_path) == []


def test_another_picture_and_a_full_one_are_not_overwritten(view: Path, tmp_path: Path) -> None:
    before = view.read_bytes()
    (line,) = refused(run_survey("--source", view, "--out", view, cwd=tmp_path))
    assert line.endswith("wall.png is not the picture of a survey: choose another --out, or replace it with --fresh")
    assert view.read_bytes() == before
    write_surveys(tmp_path / "full.png", np.zeros((8, 8, 3), np.uint8), [{}] * MAX_PANELS)
    (line,) = refused(run_survey("--source", view, "--out", "full.png", cwd=tmp_path))
    assert line == "full.png shows 4 surveys already: choose another --out, or replace it with --fresh"


def test_a_damaged_survey_is_refused(tmp_path: Path) -> None:
    write_surveys(tmp_path / "survey.png", np.zeros((8, 8, 3), np.uint8), [{}])
    data = (tmp_path / "survey.png").read_bytes()
    for damaged in (data[:60], data.replace(b"[{}]", b"[{]}"), b"", data[:20]):
        (tmp_path / "survey.png").write_bytes(damaged)
        assert "survey.png" in refused(run_survey("--source", "test-pattern", cwd=tmp_path))[0]


def test_the_frames_of_a_recording_are_its_first_three_seconds() -> None:
    config = load_config(None, {"source": {"address": "test-pattern"}})
    name, frames = present_view(config, load_segmenter("small", threads=1))
    assert (name, len(frames)) == ("test-pattern", 31)


def test_a_camera_without_frames_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty contains no images" in refused(run_survey("--source", "empty", cwd=tmp_path))[0]
    (line,) = refused(run_survey("--source", "http://me:hunter2@127.0.0.1:9/live", cwd=tmp_path))
    assert "127.0.0.1:9" in line
    assert "hunter2" not in line
    assert not (tmp_path / "survey.png").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--sizes", "0,5"), "--sizes '0,5': expected heights from 1 to 50 % of the frame's, such as 2,3,5,8,12,20"),
        (("--sizes", "small"), "--sizes 'small': expected heights"),
        (("--sizes", "nan"), "--sizes 'nan': expected heights"),
        (("--grid", "12"), "--grid '12': expected columns and rows, at most 32 of each, such as 12x8"),
        (("--grid", "99x1"), "--grid '99x1': expected columns and rows"),
        (("--width-m", 4), "--line and --width-m go together: expected both"),
        (("--width-m", 4, "--line", "0.2,0.7,1.9,0.7"), "--line '0.2,0.7,1.9,0.7': expected x,y,x,y of two points"),
        (("--width-m", 4, "--line", "0.2,0.7,0.2,0.7"), "expected x,y,x,y of two points in the frame, from 0 to 1"),
        (("--width-m", 0, "--line", "0.2,0.7,0.9,0.7"), "--width-m 0: expected the real width of the line in metres"),
        (("--out", "survey.jpg"), "--out survey.jpg is not a .png: expected a name such as survey.png"),
        (("--out", "file/survey.png"), "could not be written"),
        (("--config", "gone.toml"), "configuration gone.toml could not be read"),
        (("--flame", "gone.mp4"), "gone.mp4 could not be read"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    (tmp_path / "file").touch()
    (line,) = refused(run_survey("--source", "test-pattern", *arguments, cwd=tmp_path))
    assert problem in line
    assert not (tmp_path / "survey.png").exists()
