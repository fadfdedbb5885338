"""Snapshots, clips and recordings: their content, their limits, and that they never cost the alarm."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge.config import ClipsSection
from edge.images import read_rgb
from edge.messages import END, PEAK, START
from edge.sinks.clips import Clips, prune
from edge.sinks.video import VideoRecorder
from tests.support.factories import event, result

ID = "20261122T120000Z-frame-abcd"
FPS = 5
TIMEOUT_S = 20.0


def clips(folder: Path, *, after_s: float = 1.0, **options: Any) -> Clips:
    section = ClipsSection(folder=str(folder), before_s=2.0, after_s=after_s)
    return Clips(section, **{"grace_s": TIMEOUT_S} | options)


def record_fire(sink: Clips, t_s: float, *, until_s: float) -> None:
    """Results at `FPS`, their grey level twice their number, and a fire that starts at `t_s`."""
    for number in range(round(until_s * FPS) + 1):
        frame_t_s = number / FPS
        sink.on_result(result(frame_t_s, 0.1, on=frame_t_s >= t_s, level=2 * number))
        if frame_t_s == t_s:
            sink.on_event(event(START, t_s=t_s))
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


def test_an_unwritable_folder_costs_only_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    record_fire(clips(tmp_path / "file" / "events"), 1.0, until_s=3)
    assert "images of a fire are lost" in caplog.text


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


def test_a_slow_disk_delays_neither_the_loop_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, written = threading.Event(), []

    def write(*_: Any) -> None:
        assert release.wait(TIMEOUT_S)
        written.append(True)

    monkeypatch.setattr("edge.sinks.clips.write_bytes", write)
    sink = clips(tmp_path, grace_s=0.01)
    sink.on_event(event(START))
    sink.close()
    assert not written
    release.set()


def event_files(folder: Path, *ages_days: float) -> list[Path]:
    """Files of 1000 bytes, whose age counts back from 1e9 s."""
    paths = []
    for number, days in enumerate(ages_days):
        path = folder / f"2026112{number}T120000Z-frame-abcd.mp4"
        path.write_bytes(bytes(1000))
        os.utime(path, (1e9 - days * 86400,) * 2)
        paths.append(path)
    return paths


def test_the_oldest_files_are_deleted_until_the_folder_is_small_and_young_enough(tmp_path: Path) -> None:
    old, new, middle = event_files(tmp_path, 9, 1, 5)
    assert prune(tmp_path, max_bytes=3500, max_age_s=1e9, now_s=1e9) == []
    assert prune(tmp_path, max_bytes=2500, max_age_s=1e9, now_s=1e9) == [old]
    assert prune(tmp_path, max_bytes=1e9, max_age_s=4 * 86400, now_s=1e9) == [middle]
    assert new.exists()


def test_a_persons_own_files_in_the_folder_stay(tmp_path: Path) -> None:
    own = tmp_path / "holiday.jpg"
    own.write_bytes(bytes(10_000))
    os.utime(own, (0, 0))
    assert prune(tmp_path, max_bytes=1, max_age_s=1, now_s=1e9) == []
    assert own.exists()


def test_a_recording_has_one_frame_per_result(tmp_path: Path) -> None:
    sink = VideoRecorder(tmp_path / "out.mp4", 5)
    for number in range(7):
        sink.on_result(result(number / FPS, 0, on=False, level=10 * number))
    sink.close()
    assert len(grey_levels(tmp_path / "out.mp4")) == 7
