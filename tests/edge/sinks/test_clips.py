"""Snapshots and clips: their content, their limits, and that they never cost the alarm."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge.config_tables import ClipsSection
from edge.images import encode_jpeg, read_rgb
from edge.messages import END, PEAK, PROBLEM, RECOVERED, START, CameraState
from edge.sinks.clips import Clips
from tests.edge.sinks.test_retention import event_files
from tests.support.factories import camera_event, event, result, run_status
from tests.support.small_disk import fill, small_disk
from tests.support.waiting import wait_for

ID = "20261122T120000Z-frame-abcd"
FPS = 5
TIMEOUT_S = 20.0


def clips(folder: Path, *, after_s: float = 1.0, **options: Any) -> Clips:
    section = ClipsSection(folder=str(folder), before_s=2.0, after_s=after_s, feedback_mb=0)
    return Clips(section, **{"grace_s": TIMEOUT_S} | options)


def record_fire(sink: Clips, t_s: float, *, until_s: float, close: bool = True) -> None:
    """Results at `FPS`, their grey level twice their number, and a fire that starts at `t_s`."""
    for number in range(round(until_s * FPS) + 1):
        frame_t_s = number / FPS
        sink.on_result(result(frame_t_s, 0.1, on=frame_t_s >= t_s, level=2 * number))
        if frame_t_s == t_s:
            sink.on_event(event(START, t_s=t_s))
    if close:
        sink.close()


def grey_levels(path: Path) -> list[int]:
    capture = cv2.VideoCapture(str(path))
    levels: list[int] = []
    while True:
        success, frame = capture.read()
        if not success:
            return levels
        levels.append(round(float(frame.mean())))


def test_a_clip_shows_the_seconds_before_and_after_the_alarm_at_their_speed(tmp_path: Path) -> None:
    record_fire(clips(tmp_path / "events"), 6.0, until_s=10)
    path = tmp_path / f"events/{ID}.mp4"
    levels = grey_levels(path)
    assert len(levels) == 2 * FPS + 1 + 1 * FPS  # before, start, after
    assert levels[0] == pytest.approx(2 * 4 * FPS, abs=4)
    assert levels[-1] == pytest.approx(2 * 7 * FPS, abs=4)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, abs=0.1)


def test_each_event_leaves_snapshots_and_the_last_one_its_json(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    for kind in (START, PEAK, END):
        sink.on_event(event(kind))
    sink.close()
    names = {path.name for path in tmp_path.iterdir() if path.suffix == ".jpg"}
    assert names == {f"{ID}-{kind}{suffix}.jpg" for kind in (START, PEAK, END) for suffix in ("", "-overlay")}
    assert read_rgb(tmp_path / f"{ID}-start.jpg").shape == (48, 64, 3)
    assert json.loads((tmp_path / f"{ID}.json").read_text())["kind"] == "end"


def test_without_a_fire_nothing_is_written(tmp_path: Path) -> None:
    sink = clips(tmp_path / "events")
    for number in range(50):
        sink.on_result(result(number / FPS, 0, on=False))
    sink.close()
    assert not (tmp_path / "events").exists()


def test_a_run_that_ends_during_a_fire_keeps_the_clip_so_far(tmp_path: Path) -> None:
    record_fire(clips(tmp_path, after_s=60), 1.0, until_s=1.4)
    assert len(grey_levels(tmp_path / f"{ID}.mp4")) == 8


def test_a_clip_is_written_when_the_camera_is_gone_after_the_alarm(tmp_path: Path) -> None:
    with closing(clips(tmp_path)) as sink:
        record_fire(sink, 6.0, until_s=6.0, close=False)
        for age_s in (0.5, 1.5):
            sink.on_status(run_status(camera_state=CameraState.RECONNECTING, last_result_age_s=age_s))
        assert sink._clips, "a result may still come"
        sink.on_status(run_status(camera_state=CameraState.RECONNECTING, last_result_age_s=3.5))
        wait_for((tmp_path / f"{ID}.mp4").exists)
        assert len(grey_levels(tmp_path / f"{ID}.mp4")) == 2 * FPS + 1


def test_a_result_long_after_the_alarm_is_not_part_of_its_clip(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    record_fire(sink, 6.0, until_s=6.4, close=False)
    sink.on_result(result(3600.0, 0.0, on=False))
    sink.close()
    assert len(grey_levels(tmp_path / f"{ID}.mp4")) == 2 * FPS + 1 + 2
    assert cv2.VideoCapture(str(tmp_path / f"{ID}.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, abs=0.1)


def test_an_unwritable_folder_costs_only_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    record_fire(clips(tmp_path / "file" / "events"), 1.0, until_s=3)
    assert "images of fires are lost" in caplog.text


def test_images_are_written_again_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = threading.Event()

    def fail(*_: Any) -> None:
        monkeypatch.undo()
        broken.set()
        raise ZeroDivisionError

    monkeypatch.setattr("edge.sinks.clips.overlay", fail)
    sink = clips(tmp_path)
    sink.on_event(event(START))
    assert broken.wait(TIMEOUT_S)
    sink.on_event(event(PEAK))
    sink.close()
    assert (tmp_path / f"{ID}-peak-overlay.jpg").is_file()


def test_a_slow_disk_delays_neither_the_loop_nor_the_end_and_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, release, written = threading.Event(), threading.Event(), []

    def write(*_: Any) -> None:
        begun.set()
        release.wait(TIMEOUT_S)
        written.append(True)

    monkeypatch.setattr("edge.sinks.clips.write_jpeg", write)
    sink = clips(tmp_path, grace_s=0.01)
    sink.on_event(event(START))
    assert begun.wait(TIMEOUT_S)
    sink.close()
    assert not written
    assert list(tmp_path.iterdir()) == []
    assert [record.getMessage() for record in caplog.records] == [
        "2 files of fires not written when the run ended (the disk is slow)"
    ]
    release.set()


def test_a_clip_starts_within_the_memory_for_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = clips(tmp_path)
    one_jpeg = len(encode_jpeg(result(0.0, 0.0, on=False).rgb))
    monkeypatch.setattr("edge.sinks.clips.MAX_BUFFER_BYTES", 9 * one_jpeg // 2)
    record_fire(sink, 6.0, until_s=10)
    assert len(grey_levels(tmp_path / f"{ID}.mp4")) == 4 + 1 * FPS  # with the frame of the start


def test_a_clip_ends_within_its_memory_while_the_fire_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = clips(tmp_path, after_s=60.0)
    one_jpeg = len(encode_jpeg(result(0.0, 0.0, on=False).rgb))
    monkeypatch.setattr("edge.sinks.clips.MAX_CLIP_BYTES", 41 * one_jpeg // 2)
    caplog.set_level("INFO")
    for number in range(100):
        sink.on_result(result(1.0, 0.1, on=True))  # a source whose time stands still
        if number == 0:
            sink.on_event(event(START))
    assert not sink._clips
    sink.close()
    assert len(grey_levels(tmp_path / f"{ID}.mp4")) == 21
    assert f"the clip of {ID} ends early" in caplog.text


def test_files_that_wait_for_a_slow_disk_are_lost_above_a_limit_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr("edge.sinks.clips.write_jpeg", lambda *_: release.wait(TIMEOUT_S))
    monkeypatch.setattr("edge.sinks.clips.MAX_WAITING_BYTES", 21 * event(START).rgb.nbytes // 2)
    sink = clips(tmp_path)
    for _ in range(10):
        sink.on_event(event(PEAK))
    assert sink.lost_files == 10
    assert len(caplog.records) == 1
    release.set()
    sink.close()
    assert sink.lost_files == 10


def test_images_of_frames_above_the_memory_limit_are_lost_with_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.sinks.clips.MAX_WAITING_BYTES", event(START).rgb.nbytes - 1)
    with closing(clips(tmp_path)) as sink:
        sink.on_event(event(PEAK))
        assert sink.lost_files == 2
    assert "lower the camera's resolution" in caplog.text


def test_a_full_disk_costs_the_images_is_counted_and_logged_once_until_it_has_space(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with small_disk(tmp_path / "disk", 2) as disk:
        fill(disk)
        sink = clips(disk / "events")
        sink.on_result(result(1.0, 0.1, on=True))
        for kind in (START, PEAK, END):
            sink.on_event(event(kind))
        sink.on_result(result(9.0, 0.1, on=True))
        wait_for(lambda: sink.lost_files == 2 + 2 + 3 + 1)
        (disk / "filling").unlink()
        sink.on_event(event(END))
        sink.close()
        assert {path.suffix for path in (disk / "events").iterdir()} == {".jpg", ".json"}
        assert [path for path in (disk / "events").iterdir() if path.name.startswith(".")] == []
    lost = [record.getMessage() for record in caplog.records if "are lost" in record.getMessage()]
    assert len(lost) == 3
    assert all("No space left on device" in line and "the alarm is not affected" in line for line in lost)
    assert "images of fires are written again" in caplog.text


def test_where_memory_is_full_a_clip_is_encoded_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "memory", 1) as memory:
        fill(memory)
        monkeypatch.setattr("edge.sinks.clips.MEMORY_DIR", memory)
        record_fire(clips(tmp_path / "events"), 1.0, until_s=3)
        assert len(grey_levels(tmp_path / f"events/{ID}.mp4")) == 11
        assert list(memory.glob("fireseg-*")) == []


def test_only_the_owner_can_look_at_images_and_clips(tmp_path: Path) -> None:
    sink = clips(tmp_path / "events")
    record_fire(sink, 1.0, until_s=3)
    assert stat.S_IMODE((tmp_path / "events").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "events").iterdir()} == {0o600}


def test_old_files_go_and_a_killed_runs_temporaries_too_without_a_fire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, events = tmp_path / "memory", tmp_path / "events"
    monkeypatch.setattr("edge.sinks.retention.MEMORY_DIR", memory)
    monkeypatch.setattr("edge.sinks.retention.PROTECTED_S", 0.0)
    left = [memory / "fireseg-abcd/clip.mp4", events / ".20261122T120000Z-frame-abcd-0011aabb.mp4"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (0, 0))
    os.utime(memory / "fireseg-abcd", (0, 0))
    with closing(clips(events, prune_interval_s=0.01)):
        wait_for(lambda: not any(path.exists() for path in left))
        (old,) = event_files(events, 40, now_s=time.time())
        wait_for(lambda: not old.exists())
    assert not (memory / "fireseg-abcd").exists()


def test_a_problem_of_the_camera_leaves_pictures_and_a_record(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    sink.on_camera_event(camera_event(PROBLEM))
    sink.on_camera_event(camera_event(RECOVERED, t_s=9.0))
    sink.close()
    id_ = camera_event(PROBLEM).id
    assert {path.name for path in tmp_path.iterdir()} == {f"{id_}-problem.jpg", f"{id_}-recovered.jpg", f"{id_}.json"}
    assert json.loads((tmp_path / f"{id_}.json").read_text())["problem"] == "covered"
