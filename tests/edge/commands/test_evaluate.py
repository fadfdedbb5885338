"""`fireseg-edge evaluate`: tables and JSON of a score, pictures, sensitivity; mistakes are one line and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.evaluation.evaluate import ABLATIONS, ALL_RULES
from edge.evaluation.sensitivity import CENTRES, SIZES
from tests.support.recordings import FIRE_FROM_S, pattern_recording, write_video
from tests.support.run_cli import Done, fireseg_edge, leftovers, refused

EVENTS = f"file,label,fire_from_s,group\nfire.avi,fire,{FIRE_FROM_S},red\nroom.avi,none,,grey\n"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording of fire and one without, and their labels. Shared: never write into it."""
    folder = tmp_path_factory.mktemp("recordings")
    write_video(folder / "fire.avi", pattern_recording(3))
    write_video(folder / "room.avi", pattern_recording(1, flames=False))
    (folder / "events.csv").write_text(EVENTS)
    return folder


def evaluate(*arguments: object, cwd: Path) -> Done:
    return fireseg_edge("evaluate", *arguments, "--model", "small", cwd=cwd)


def evaluated(*arguments: object, cwd: Path) -> dict[str, Any]:
    done = evaluate(*arguments, "--json", cwd=cwd)
    assert done.code == 0, done
    values: dict[str, Any] = json.loads(done.out)
    return values


def without_memory(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "peak_gb"}


@pytest.mark.slow
def test_the_json_has_alarms_scores_and_groups_at_each_rate_and_variant(folder: Path) -> None:
    values = evaluated(folder, "--fps", 10, "--fps", 5, "--ablate", "--jobs", 1, cwd=folder)
    fire, room = values["recordings"]
    assert (fire["file"], fire["label"], fire["group"]) == ("fire.avi", "fire", "red")
    keys = {(result["variant"], result["fps"]) for result in fire["results"]}
    assert keys == {(variant, fps) for variant in (ALL_RULES, *ABLATIONS) for fps in (10, 5)}
    first = fire["results"][0]
    assert first["alarms_s"][0] - FIRE_FROM_S == pytest.approx(first["delay_s"], abs=1e-3)
    assert 0 < first["delay_s"] < 2
    assert {tuple(result["alarms_s"]) for result in room["results"]} == {()}
    score = values["scores"][0]
    assert (score["variant"], score["fps"], score["fires"], score["detected"]) == (ALL_RULES, 10, 1, 1)
    assert (score["precision"], score["recall_within_5s"], score["false_alarms_per_hour"]) == (1, 1, 0)
    assert score["false_alarms_interval"][1] == pytest.approx(3.6889 / (0.9 / 3600), rel=1e-3)
    assert [row["frame_rate_term"] for row in values["scores"][:2]] == [1, 2]
    assert {(row["group"], row["fires"]) for row in values["groups"]} == {("red", 1), ("grey", 0)}
    assert (values["memory_term"], values["errors"]) == (1, [])


@pytest.mark.slow
def test_the_tables_name_recordings_delays_and_the_score(folder: Path) -> None:
    done = evaluate(folder / "events.csv", "--fps", 5, "--ablate", "--jobs", 1, cwd=folder)
    assert done.code == 0, done
    for words in ("fire.avi", "recall within 10 s", "FDS", "false alarms an hour", "groups at 5 fps", *ABLATIONS):
        assert words in done.out
    assert "MISSED" not in done.out
    assert "evaluating" not in done.out


@pytest.mark.slow
def test_two_processes_give_what_one_gives(folder: Path) -> None:
    one, two = (evaluated(folder, "--fps", 5, "--jobs", jobs, cwd=folder) for jobs in (1, 2))
    assert without_memory(one) == without_memory(two)


def test_a_report_has_a_timeline_of_each_recording_and_stills_of_misses(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "deaf.toml").write_text("[alarm]\non_results = 64\nof_results = 64\n")
    arguments = ("--fps", 5, "--jobs", 1, "--config", tmp_path / "deaf.toml", "--report", tmp_path / "report")
    done = evaluate(folder, *arguments, cwd=folder)
    assert "MISSED" in done.out
    timelines, stills = ({path.stem for path in (tmp_path / "report").glob(f"*.{kind}")} for kind in ("png", "jpg"))
    assert timelines == {"fire", "room"}
    assert [still.startswith("fire-missed-") for still in stills] == [True]
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_the_sensitivity_is_reported_for_each_scene_and_size(folder: Path) -> None:
    values = evaluated(folder, "--sensitivity", "--fps", 0.5, "--jobs", 1, cwd=folder)
    (scene,) = values["scenes"]
    assert (scene["file"], scene["has_false_alarm"]) == ("room.avi", False)
    assert [len(delays_s) for delays_s in scene["delays_s"]] == [len(CENTRES)] * len(SIZES)
    assert (values["sizes"], len(values["shares"]), values["smallest"]) == (list(SIZES), len(SIZES), scene["smallest"])


def test_a_report_refuses_recordings_whose_pictures_would_have_one_name(folder: Path, tmp_path: Path) -> None:
    for name in ("room.avi", "room.mkv"):
        (tmp_path / name).symlink_to(folder / "room.avi")
    (line,) = refused(evaluate(tmp_path, "--report", tmp_path / "report", cwd=tmp_path))
    assert line == "the pictures of room.avi and room.mkv would have one name: rename one"
    assert not (tmp_path / "report").exists()


def test_videos_without_labels_are_shown_and_not_scored(folder: Path) -> None:
    done = evaluate(folder / "fire.avi", "--fps", 5, "--jobs", 1, cwd=folder)
    assert "alarm at " in done.out
    assert "0 of 0" in done.out


def test_an_unreadable_recording_is_named_after_the_others_are_scored(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    (tmp_path / "room.avi").symlink_to(folder / "room.avi")
    done = evaluate(tmp_path, "--fps", 5, "--jobs", 1, cwd=tmp_path)
    (line,) = refused(done)
    assert "bad.mp4 is not a readable video: expected a whole MP4, AVI, MKV or similar" in line
    assert "room.avi" in done.out


@pytest.mark.parametrize("option", [(), ("--sensitivity",), ("--json",)])
def test_if_no_recording_is_readable_nothing_is_scored(tmp_path: Path, option: tuple[str, ...]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    (tmp_path / "events.csv").write_text("file,label\nbad.mp4,none\n")
    done = evaluate(tmp_path, "--jobs", 1, *option, cwd=tmp_path)
    (line,) = refused(done)
    assert "bad.mp4 is not a readable video" in line
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("gone",), "gone does not exist: expected a CSV of recordings, a folder or a video"),
        (("room.avi", "--sensitivity"), "there is no recording without fire to lay flames over"),
        (("room.avi", "--flame", "x.mp4"), "--flame and --scenes are for --sensitivity: add --sensitivity"),
        (("events.csv", "--sensitivity", "--ablate"), "--sensitivity does not go with --ablate, --report and --dask"),
        (("events.csv", "--sensitivity", "--flame", "gone.mp4"), "gone.mp4 could not be read"),
        (("events.csv", "--config", "gone.toml"), "configuration gone.toml could not be read"),
        (("events.csv", "--report", "events.csv/x"), "events.csv/x could not be written"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, arguments: tuple[str, ...], problem: str) -> None:
    (line,) = refused(evaluate(*arguments, "--jobs", 1, cwd=folder))
    assert problem in line
