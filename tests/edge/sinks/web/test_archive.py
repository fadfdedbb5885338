"""Events on disk, as clients of the page see them: by day, with pictures, clip, verdict and download."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import __version__
from edge.config_tables import ClipsSection
from edge.messages import END, PEAK, PROBLEM, RECOVERED, START
from edge.sinks.clips import Clips
from edge.sinks.web import archive as archive_module
from edge.sinks.web.archive import Archive
from edge.sinks.web.sink import WebPage
from tests.support.factories import MODEL_HASH, camera_event, event, result, run_status
from tests.support.web_client import Clock, Viewer, basic_auth, config, decode, get, get_json, serving

FIRE, CAMERA, DAY = event(START).id, camera_event(PROBLEM).id, "2026-11-22"
PASSWORD = "a long password"
PATHS = (
    "/api/archive",
    f"/api/archive?day={DAY}",
    f"/archive/{FIRE}/peak.jpg",
    f"/archive/{FIRE}/clip",
    f"/archive/{FIRE}/clip.mjpeg",
    f"/archive/{FIRE}.zip",
    "/api/trend?span=day",
)


def write_events(folder: Path) -> None:
    """Leave what an earlier run with a fire and a camera problem leaves."""
    sink = Clips(ClipsSection(folder=str(folder), after_s=1), grace_s=20.0)
    start = replace(event(START), rgb=np.full((360, 640, 3), 60, np.uint8), mask=np.ones((12, 16), np.bool_))
    for number in range(10):
        sink.on_result(replace(result(number / 5, 0.1, on=True, level=20 * number)))
        if number == 3:
            sink.on_event(start)
    for kind, t_s in ((PEAK, 3.0), (END, 9.0)):
        sink.on_event(replace(start, kind=kind, t_s=t_s, peak_share=0.25))
    sink.on_camera_event(camera_event(PROBLEM))
    sink.on_camera_event(camera_event(RECOVERED, t_s=5.0))
    sink.close()
    (folder / f"{FIRE}-verdict.json").write_text(json.dumps({"id": FIRE, "verdict": "not a fire", "time": "…"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_events(tmp_path / "events")
    return tmp_path / "events"


@pytest.fixture
def page(folder: Path) -> Iterator[WebPage]:
    with serving(config(clips={"folder": str(folder)})) as page:
        yield page


def unzipped(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


def test_events_of_an_earlier_run_are_listed_by_day(page: WebPage) -> None:
    assert get_json(page, "/api/archive") == [{"day": DAY, "fires": 1, "camera_problems": 1}]
    fire, camera = sorted(get_json(page, f"/api/archive?day={DAY}"), key=lambda each: each["type"], reverse=True)
    assert fire == {
        "id": FIRE,
        "type": "fire",
        "time": "2026-11-22T12:00:00+00:00",
        "zone": "frame",
        "problem": "",
        "duration_s": 8.0,
        "peak_share": 0.25,
        "silence": None,
        "drill": False,
        "pictures": ["peak", "start", "end"],
        "clip": True,
        "verdict": "not a fire",
    }
    assert (camera["type"], camera["problem"], camera["pictures"]) == ("camera", "covered", ["problem", "recovered"])
    assert (camera["duration_s"], camera["clip"]) == (4.0, False)
    assert get_json(page, "/api/archive?day=2026-11-21") == get_json(page, "/api/archive?day=../..") == []


def test_an_event_is_listed_as_soon_as_its_first_file_is_written(page: WebPage, folder: Path) -> None:
    assert len(get_json(page, f"/api/archive?day={DAY}")) == 2
    later = FIRE.replace("T12", "T13")
    (folder / f"{later}-start.jpg").write_bytes((folder / f"{FIRE}-start.jpg").read_bytes())
    newest = get_json(page, f"/api/archive?day={DAY}")[0]
    assert (newest["id"], newest["duration_s"], newest["pictures"], newest["verdict"]) == (later, None, ["start"], "")
    (folder / f"{later}.json").write_bytes(b"[" * 10_000)
    (folder / f"{later}-verdict.json").write_text('{"verdict": ')
    assert get_json(page, f"/api/archive?day={DAY}")[0] == newest, "damaged files count as missing"


def test_pictures_are_tinted_and_thumbnails_small(page: WebPage) -> None:
    tinted, plain, thumbnail = (
        decode(get(page, f"/archive/{FIRE}/peak.jpg{query}")[2]) for query in ("", "?overlay=0", "?thumbnail=1")
    )
    assert (tinted.shape, thumbnail.shape) == ((360, 640, 3), (180, 320, 3))
    assert tinted[..., 2].mean() > 120 > 70 > plain[..., 2].mean()
    assert thumbnail[..., 2].mean() > 120
    assert get(page, f"/archive/{CAMERA}/problem.jpg")[0] == 200


def test_a_clip_is_sent_in_the_ranges_that_players_ask_for(page: WebPage, folder: Path) -> None:
    whole = (folder / f"{FIRE}.mp4").read_bytes()
    code, headers, body = get(page, f"/archive/{FIRE}/clip")
    assert (code, headers["Content-Type"], body) == (200, "video/mp4", whole)
    code, headers, body = get(page, f"/archive/{FIRE}/clip", headers={"Range": "bytes=10-19"})
    assert (code, headers["Content-Range"], body) == (206, f"bytes 10-19/{len(whole)}", whole[10:20])


def test_a_clip_is_played_as_frames_for_browsers_that_lack_its_codec(page: WebPage) -> None:
    with Viewer(page, f"/archive/{FIRE}/clip.mjpeg") as viewer:
        levels = [decode(viewer.jpeg()).mean() for _ in range(8)]
        assert levels == sorted(levels)
        assert levels[-1] - levels[0] > 100
        assert viewer.response.readline() == b"--frame\r\n"


def test_a_download_has_all_files_of_one_event_and_the_hashes_of_its_model(page: WebPage, folder: Path) -> None:
    page.on_status(run_status(flatbuffer_sha256="cd" * 32))
    code, headers, body = get(page, f"/archive/{FIRE}.zip")
    assert (code, headers["Content-Type"]) == (200, "application/zip")
    assert headers["Content-Disposition"] == f'attachment; filename="{FIRE}.zip"'
    archive = unzipped(body)
    files = {path.name: path.read_bytes() for path in folder.glob(f"{FIRE}*")}
    assert len(files) >= 9  # frames and masks for training too
    assert {name: archive.read(name) for name in archive.namelist() if name != "model.json"} == files
    expected = {"model_sha256": MODEL_HASH, "flatbuffer_sha256": "cd" * 32, "version": __version__, "model": "base"}
    assert json.loads(archive.read("model.json")) == {"id": FIRE, **expected}


def test_a_download_names_no_hash_of_another_model_and_is_bounded(
    page: WebPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.on_status(run_status(model_sha256="ef" * 32, flatbuffer_sha256="cd" * 32))
    monkeypatch.setattr(archive_module, "MAX_ZIP_BYTES", 1000)
    archive = unzipped(get(page, f"/archive/{FIRE}.zip")[2])
    assert json.loads(archive.read("model.json"))["flatbuffer_sha256"] is None
    assert sum(entry.file_size for entry in archive.infolist()) < 2000


@pytest.mark.parametrize(
    "path",
    [
        "/archive/..%2f..%2fetc%2fpasswd/start.jpg",
        f"/archive/..%2fevents%2f{FIRE}/start.jpg",
        f"/archive/{FIRE}/verdict.jpg",
        f"/archive/{FIRE}%0a/start.jpg",
        f"/archive/{FIRE}/..%2f{FIRE}-start.jpg",
        f"/archive/{FIRE}*/clip",
        "/archive/*.zip",
        "/archive/secret.zip",
        f"/archive/{FIRE.replace('abcd', 'abce')}.zip",
        f"/archive/{FIRE.replace('abcd', 'abce')}/clip.mjpeg",
        f"/archive/{FIRE.replace('T12', 'T11')}/start.jpg",
    ],
)
def test_no_path_reaches_anything_but_files_of_events(page: WebPage, folder: Path, path: str) -> None:
    (folder.parent / "secret.jpg").write_text("secret")
    (folder / "secret.jpg").write_text("secret")
    (folder / f"{FIRE.replace('T12', 'T11')}-start.jpg").symlink_to(folder.parent / "secret.jpg")
    assert get(page, path)[0] == 404


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_reached_without_the_password(folder: Path, tmp_path: Path, path: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("FIRESEG_WEB_PASSWORD", PASSWORD)
    with serving(config(clips={"folder": str(folder)}), trend_path=tmp_path / "trend.bin") as page:
        assert get(page, path)[::2] == (401, b"Password required; any user name.\n")
        assert get(page, path, headers=basic_auth(PASSWORD))[0] == 200


def test_the_folder_is_listed_again_only_after_it_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[Any] = []
    clock, scandir = Clock(), os.scandir

    def counting(path: Any) -> Any:
        scans.append(path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", counting)
    archive = Archive(folder, clock)
    for _ in range(4):
        archive.events(DAY)
        clock.now_s += 5
    assert len(scans) == 2, "a second time, for a file that left the modification time as it was"
    (folder / f"{FIRE}-verdict.json").unlink()
    assert {each["verdict"] for each in archive.events(DAY)} == {""}


def test_an_unreadable_folder_is_logged_once_and_a_missing_one_not_at_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked, missing = Archive(tmp_path / "file" / "events"), Archive(tmp_path / "none")
    for _ in range(2):
        assert blocked.days() == missing.days() == []
    assert [record.getMessage() for record in caplog.records] == [
        f"events of earlier runs are not shown: {tmp_path / 'file' / 'events'} (Not a directory)"
    ]


def test_without_a_folder_of_clips_there_is_no_archive() -> None:
    with serving() as page:
        assert get(page, f"/archive/{FIRE}.zip")[0] == 404
        assert get_json(page, "/api/state")["has_archive"] is False


def test_of_a_full_folder_the_newest_events_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_FILES", 3)
    for hour in range(13, 18):
        (folder / f"{FIRE.replace('T12', f'T{hour}')}-start.jpg").touch()
    events = Archive(folder).events(DAY)
    assert [each["id"][9:11] for each in events] == ["17", "16", "15"], "the newest"


@pytest.mark.parametrize(
    "record",
    ['{"duration_s": NaN, "peak_share": 1e400}', '{"silence": NaN, "zone": "\\ud800"}', '{"zone": [1]}', "[" * 9999],
)
def test_a_damaged_record_does_not_cost_the_list_of_its_day(page: WebPage, folder: Path, record: str) -> None:
    (folder / f"{FIRE}.json").write_text(record)
    (folder / f"{FIRE}-verdict.json").write_text('{"verdict": "\\ud800"}')
    listed = {event["id"]: event for event in get_json(page, f"/api/archive?day={DAY}")}
    assert listed[FIRE]["duration_s"] is None and listed[FIRE]["silence"] is None


def test_a_picture_that_would_fill_the_memory_has_no_thumbnail(folder: Path) -> None:
    bomb = cv2.imencode(".png", np.zeros((8000, 8000), np.uint8))[1]
    (folder / f"{FIRE}-peak-overlay.jpg").write_bytes(bomb.tobytes())
    assert Archive(folder).thumbnail(FIRE, "peak") is None
