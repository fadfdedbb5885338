"""Capture survives broken frames, gaps in time stamps, threads that cannot start and cameras that stay away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edge import threads
from edge.camera import build_camera
from edge.camera.base import BrokenFrameError, Camera, CameraError, CameraFrame, CameraSettings, CameraState
from edge.camera.capture import Capture
from edge.camera.replay import Replay
from edge.config import load_config
from edge.errors import UserError
from edge.images import encode_jpeg
from tests.support.mjpeg_server import part, serve_camera, stream
from tests.support.scripted_camera import (
    WAIT_S,
    camera,
    image,
    start,
    states,
    take,
)
from tests.support.waiting import wait_for


def test_a_broken_frame_of_a_recording_is_skipped_named_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[CameraFrame | BrokenFrameError]:
        yield CameraFrame(image(), t_s=0.0)
        yield BrokenFrameError("2.jpg is cut short")
        yield CameraFrame(image(), t_s=0.1)

    with start(run, live=False, replay=Replay.EVERY_FRAME) as capture:
        assert [frame.t_s for frame in take(capture, 5)] == [0.0, 0.1]
        assert capture.broken_frames == 1
        with pytest.raises(UserError, match="contains 1 broken frame: see the log"):
            capture.check()
    assert caplog.text.count("2.jpg is cut short") == 1


def broken(count: int) -> Iterator[BrokenFrameError]:
    return (BrokenFrameError("a frame of rtsp://me:hunter2@cam is damaged") for _ in range(count))


def test_broken_frames_of_a_camera_are_counted_and_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[CameraFrame | BrokenFrameError]:
        for _ in range(6):
            yield from broken(5)
            yield CameraFrame(image())
        yield from camera()()

    with start(run) as capture:
        wait_for(lambda: capture.frames > 6)
        assert (capture.broken_frames, capture.connects) == (30, 1)
    assert caplog.text.count("rtsp://***@cam is damaged; broken frames so far: 1\n") == 1
    assert caplog.text.count("is damaged") == 2  # the 1st and the 10th


def test_a_camera_that_sends_only_broken_frames_is_reconnected(caplog: pytest.LogCaptureFixture) -> None:
    scripts = iter([lambda: broken(1000), camera()])
    with start(lambda: next(scripts)()) as capture:
        assert len(take(capture, 1)) == 1
        assert (capture.connects, capture.broken_frames) == (2, 10)
    assert "sent 10 broken frames in a row (a frame of rtsp://***@cam is damaged)" in caplog.text


def test_a_gap_in_the_time_stamps_of_a_recording_is_shortened(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[CameraFrame]:
        return (CameraFrame(image(), t_s=t_s) for t_s in (0.0, 0.01, 3600.0, 3600.01))

    with start(run, live=False, max_gap_s=0.05) as capture:
        assert [frame.t_s for frame in take(capture, 10)][-1] == 3600.01
    assert caplog.text.count("gap of 3600 s in the time stamps shortened to 0.05 s") == 1


@pytest.mark.parametrize("name", ["capture", "camera"])
def test_a_thread_that_cannot_be_started_is_tried_again(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain_start, refusals = threading.Thread.start, iter([True])

    def start_later(thread: threading.Thread) -> None:
        if thread.name == name and next(refusals, False):
            raise RuntimeError("can't start new thread")
        plain_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    with start(camera()) as capture:
        if name == "capture":
            assert "capture" in threads.missing()
            threads.restart_missing()
        assert len(take(capture, 1)) == 1
    problem = "capture could not be started" if name == "capture" else "camera/live cannot be read"
    assert f"{problem} (can't start new thread)" in caplog.text


def reading_a_password(folder: Path, address: str) -> Callable[[], Camera]:
    """Return what builds the camera at an address, with the file `password`, which it writes."""
    (folder / "password").write_text("hunter2")
    path = folder / "fireseg.toml"
    path.write_text(f'[source]\naddress = "http://{address}"\nuser = "me"\npassword_file = "password"\n')
    source = load_config(path).source
    return lambda: build_camera(source.address_with_login(), CameraSettings(timeout_s=WAIT_S))


def test_a_password_file_that_is_missing_while_the_camera_reconnects_is_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    password = tmp_path / "password"
    with (
        serve_camera(stream(part(encode_jpeg(image())))) as address,
        Capture(reading_a_password(tmp_path, address), retry_wait_s=lambda _: 0.01) as capture,
    ):
        assert len(take(capture, 1)) == 1
        password.unlink()
        wait_for(lambda: caplog.text.count("password could not be read") > 1)
        assert capture.state is CameraState.RECONNECTING
        frames = capture.frames
        password.write_text("hunter2")
        wait_for(lambda: capture.frames > frames)
    assert all(state != following for state, following in pairwise(states(caplog)))


def test_a_password_file_that_is_missing_at_the_start_ends_the_run(tmp_path: Path) -> None:
    make_camera = reading_a_password(tmp_path, "127.0.0.1:9/")
    (tmp_path / "password").unlink()
    with Capture(make_camera) as capture:
        wait_for(lambda: capture.ended)
        with pytest.raises(UserError, match="password could not be read"):
            capture.check()


def test_a_camera_that_stays_away_is_not_logged_at_each_try(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[CameraFrame]:
        raise CameraError("no route")
        yield

    with start(run, retry_wait_s=lambda failures: 0.0 if failures <= 50 else WAIT_S) as capture:
        wait_for(lambda: capture.connects > 50)
    assert 5 < caplog.text.count("no route") < 15
    assert len(states(caplog)) < 5
