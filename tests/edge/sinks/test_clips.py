"""Pictures and clips of fires: what they show, how much they may take, and that they never cost the alarm."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import cv2
import pytest

from edge.images import read_rgb
from edge.messages import END, PEAK, START
from edge.sinks.clips import CLOSE_WAIT_S, Clips, prune
from edge.sinks.record import Record
from tests.support.factories import event, result

ID = "20261122T120000Z-frame-abcd"
FPS = 5


def clips(folder: Path, *, after_s: float = 1.0) -> Clips:
    return Clips(folder, before_s=2.0, after_s=after_s, max_bytes=1e9, max_age_s=1e9)


def fire_at(sink: Clips, t_s: float, *, until_s: float) -> None:
    """Results five times a second, grey by their number, and a fire that starts at `t_s`."""
    for number in range(round(until_s * FPS) + 1):
        at_s = number / FPS
        sink.on_result(result(at_s, 0.1, on=at_s >= t_s, level=2 * number))
        if at_s == t_s:
            sink.on_event(event(START, t_s=t_s))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is what is written, not how much of it in the end's second: the end waits until it is."""
    monkeypatch.setattr("edge.sinks.clips.CLOSE_WAIT_S", 20.0)


def greys(path: Path) -> list[int]:
    capture = cv2.VideoCapture(str(path))
    found: list[int] = []
    while True:
        read, picture = capture.read()
        if not read:
            return found
        found.append(round(float(picture.mean())))


def test_a_clip_shows_the_seconds_before_the_alarm_and_after_it(tmp_path: Path) -> None:
    sink = clips(tmp_path / "events")
    fire_at(sink, 6.0, until_s=10)
    sink.close()
    seen = greys(tmp_path / f"events/{ID}.mp4")
    assert len(seen) == 2 * FPS + 1 + 1 * FPS  # before, the moment, after
    assert seen[0] == pytest.approx(2 * 4 * FPS, abs=4)
    assert seen[-1] == pytest.approx(2 * 7 * FPS, abs=4)


def test_a_clip_plays_as_fast_as_it_was(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    fire_at(sink, 6.0, until_s=10)
    sink.close()
    assert cv2.VideoCapture(str(tmp_path / f"{ID}.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, abs=0.1)


def test_each_event_leaves_its_frame_with_and_without_the_fire_marked_and_the_end_its_facts(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    for kind in (START, PEAK, END):
        sink.on_event(event(kind))
    sink.close()
    names = {path.name for path in tmp_path.iterdir() if path.suffix == ".jpg"}
    assert names == {f"{ID}-{kind}{what}.jpg" for kind in (START, PEAK, END) for what in ("", "-overlay")}
    assert read_rgb(tmp_path / f"{ID}-start.jpg").shape == (48, 64, 3)
    assert json.loads((tmp_path / f"{ID}.json").read_text())["kind"] == "end"


def test_without_a_fire_nothing_touches_the_disk(tmp_path: Path) -> None:
    sink = clips(tmp_path / "events")
    for number in range(50):
        sink.on_result(result(number / FPS, 0, on=False))
    sink.close()
    assert not (tmp_path / "events").exists()


def test_a_run_that_ends_during_a_fire_keeps_the_clip_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sinks.clips.CLOSE_WAIT_S", CLOSE_WAIT_S)  # as in a run
    sink = clips(tmp_path, after_s=60)
    fire_at(sink, 1.0, until_s=1.4)
    sink.close()
    assert len(greys(tmp_path / f"{ID}.mp4")) == 8


def test_a_folder_that_cannot_be_written_costs_the_pictures_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = clips(tmp_path / "file" / "events")
    fire_at(sink, 1.0, until_s=3)
    sink.on_event(event(END))
    sink.close()
    assert "pictures of a fire are lost" in caplog.text


def test_after_pictures_that_were_lost_the_next_ones_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = clips(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("edge.sinks.clips.overlay", lambda *_: 1 / 0)
        sink.on_event(event(START))
        time.sleep(0.2)
    sink.on_event(event(PEAK))
    sink.close()
    assert (tmp_path / f"{ID}-peak-overlay.jpg").is_file()


def test_a_slow_disk_does_not_hold_up_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sinks.clips.CLOSE_WAIT_S", CLOSE_WAIT_S)  # as in a run
    monkeypatch.setattr("edge.sinks.clips.write_bytes", lambda *_: time.sleep(0.5))
    sink = clips(tmp_path)
    began_s = time.monotonic()
    sink.on_event(event(START))
    assert time.monotonic() - began_s < 0.2
    sink.close()
    assert time.monotonic() - began_s < 1.5


def files(folder: Path, *days_old: float, size: int = 1000) -> list[Path]:
    made = []
    for number, days in enumerate(days_old):
        path = folder / f"2026112{number}T120000Z-frame-abcd.mp4"
        path.write_bytes(bytes(size))
        os.utime(path, (1e9 - days * 86400,) * 2)
        made.append(path)
    return made


def test_the_oldest_go_first_until_the_folder_is_small_enough(tmp_path: Path) -> None:
    old, new, middle = files(tmp_path, 9, 1, 5)
    assert prune(tmp_path, max_bytes=2500, max_age_s=1e9, now_s=1e9) == [old]
    assert prune(tmp_path, max_bytes=1000, max_age_s=1e9, now_s=1e9) == [middle]
    assert new.exists()


def test_what_is_too_old_goes_however_small_the_folder_is(tmp_path: Path) -> None:
    old, new = files(tmp_path, 31, 29)
    assert prune(tmp_path, max_bytes=1e9, max_age_s=30 * 86400, now_s=1e9) == [old]
    assert new.exists()


def test_a_person_s_own_files_in_the_folder_stay(tmp_path: Path) -> None:
    mine = tmp_path / "holiday.jpg"
    mine.write_bytes(bytes(10_000))
    os.utime(mine, (0, 0))
    assert prune(tmp_path, max_bytes=1, max_age_s=1, now_s=1e9) == []
    assert mine.exists()


def test_recording_writes_one_frame_a_result_of_any_size(tmp_path: Path) -> None:
    sink = Record(tmp_path / "out.mp4", 5)
    for number in range(7):
        sink.on_result(result(number / FPS, 0, on=False, level=10 * number))
    sink.close()
    assert len(greys(tmp_path / "out.mp4")) == 7
