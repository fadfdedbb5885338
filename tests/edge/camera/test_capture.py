"""Capture keeps the newest frame, of cameras that are slow, end, fail, stall and hang."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge import threads
from edge.camera.base import BrokenFrameError, CameraError, CameraFrame, CameraState
from edge.camera.capture import Capture, Replay, TimedFrame
from edge.errors import UserError
from edge.images import Frame

WAIT_S = 20.0  # for what takes milliseconds on an idle machine
Script = Callable[[], Iterator[CameraFrame | BrokenFrameError]]


class ScriptedCamera:
    """Runs its script again at each opening."""

    def __init__(self, script: Script, *, live: bool) -> None:
        self.name = "rtsp://***@camera/live"
        self.live = live
        self._script = script
        self._frames: Iterator[CameraFrame | BrokenFrameError] = iter(())
        self.closed = threading.Event()

    def open(self) -> None:
        self._frames = self._script()

    def read(self) -> CameraFrame | None:
        frame = next(self._frames, None)
        if isinstance(frame, BrokenFrameError):
            raise frame
        return frame

    def close(self) -> None:
        self.closed.set()


def image(level: int = 0) -> Frame:
    return np.full((4, 6, 3), level, np.uint8)


def recording(count: int, fps: float = 1000.0) -> Script:
    return lambda: (CameraFrame(image(number), t_s=number / fps) for number in range(count))


def camera(*frames_per_session: int, error: Exception | None = None) -> Script:
    """Each session gives this many frames and then ends or fails; the one after the last goes on."""
    sessions = iter(frames_per_session)

    def run() -> Iterator[CameraFrame]:
        for number in range(next(sessions, 1_000_000)):
            yield CameraFrame(image(number % 256))
            time.sleep(0.002)
        if error:
            raise error

    return run


def hanging(released: threading.Event, *, before: int = 0, sessions: int = 1) -> Script:
    """The first sessions hang after `before` frames until released; pixels hold the session's number."""
    numbers = iter(range(1_000_000))

    def run() -> Iterator[CameraFrame]:
        session = next(numbers)
        for _ in range(before):
            yield CameraFrame(image(session))
        if session < sessions:
            released.wait(WAIT_S)
        while True:
            yield CameraFrame(image(session))
            time.sleep(0.002)

    return run


def start(script: Script, *, live: bool = True, **options: Any) -> Capture:
    return Capture(lambda: ScriptedCamera(script, live=live), **({"retry_wait_s": lambda _: 0.01} | options))


def take(capture: Capture, count: int, *, pause_s: float = 0.0) -> list[TimedFrame]:
    frames: list[TimedFrame] = []
    deadline_s = time.monotonic() + WAIT_S
    while len(frames) < count and not capture.ended:
        assert time.monotonic() < deadline_s, f"only {len(frames)} frames came"
        if (frame := capture.newest(0.05)) is not None:
            frames.append(frame)
            time.sleep(pause_s)
    return frames


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.002)


def states(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(arg) for record in caplog.records for arg in record.args or () if isinstance(arg, CameraState)]


@pytest.fixture(autouse=True)
def log_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge.camera.capture")


def test_every_frame_mode_delivers_all_frames_in_order_to_a_slow_reader() -> None:
    with start(recording(20), live=False, replay=Replay.EVERY_FRAME) as capture:
        frames = take(capture, 100, pause_s=0.002)
    assert [frame.number for frame in frames] == list(range(1, 21))
    assert [frame.t_s for frame in frames] == [number / 1000 for number in range(20)]


def test_in_real_time_a_slow_reader_gets_the_newest_frame() -> None:
    with start(recording(2000, fps=400), live=False) as capture:
        (first,) = take(capture, 1)
        wait_until(lambda: capture.frames > first.number + 10)
        frames_so_far = capture.frames
        assert take(capture, 1)[0].number >= frames_so_far


def test_a_recording_in_real_time_plays_at_its_own_speed() -> None:
    started_s = time.monotonic()
    with start(recording(11, fps=100), live=False) as capture:
        frames = take(capture, 100)
    assert time.monotonic() - started_s >= 0.1
    assert frames[-1].t_s == 0.1


def test_a_frame_is_delivered_once() -> None:
    released = threading.Event()
    with start(hanging(released, before=1), stall_s=WAIT_S) as capture:
        assert capture.newest(WAIT_S) is not None
        assert capture.newest(0.02) is None
        released.set()


def test_a_camera_that_ends_is_reconnected(caplog: pytest.LogCaptureFixture) -> None:
    with start(camera(3, 2)) as capture:
        frames = take(capture, 40)
    assert [frame.number for frame in frames] == sorted({frame.number for frame in frames})
    assert states(caplog)[:6] == ["connecting", "streaming", "reconnecting", "streaming", "reconnecting", "streaming"]
    assert "camera/live ended: check that the camera is on and connected; trying again in 0 s" in caplog.text


def test_the_time_of_a_camera_continues_over_a_reconnection() -> None:
    with start(camera(3), retry_wait_s=lambda _: 0.05) as capture:
        times = [frame.t_s for frame in take(capture, 10)]
    assert times == sorted(times)
    assert times[-1] >= 0.05


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (CameraError("no route to rtsp://me:hunter2@cam", "check it"), "to rtsp://***@cam: check it; trying again"),
        (ZeroDivisionError("driver"), "failed (ZeroDivisionError: driver)"),
    ],
)
def test_a_camera_that_fails_is_reconnected_and_the_log_says_why(
    error: Exception, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with start(camera(0, 0, 1, error=error)) as capture:
        assert len(take(capture, 5)) == 5
    assert logged in caplog.text
    assert "hunter2" not in caplog.text


def test_it_gives_up_after_the_limit_of_reconnections_in_a_row() -> None:
    failing = camera(0, 0, 0, 0, 0, error=CameraError("no route to rtsp://me:hunter2@cam", "check it"))
    with start(failing, reconnect_limit=2) as capture:
        assert capture.newest(WAIT_S) is None
        with pytest.raises(
            UserError, match=r"rtsp://\*\*\*@cam; gave up after 2 reconnections without a frame: check it"
        ):
            capture.check()
        assert (capture.state, capture.connects) == (CameraState.ENDED, 3)


def test_a_frame_between_failures_resets_their_count() -> None:
    with start(camera(1, 1, 1, 1, 1, 1), reconnect_limit=1) as capture:
        assert len(take(capture, 20)) == 20


def test_an_error_that_a_retry_cannot_fix_is_raised_at_once() -> None:
    def broken() -> Iterator[CameraFrame]:
        raise UserError("picamera2 is not installed", "install it")
        yield

    with start(broken) as capture:
        assert capture.newest(WAIT_S) is None
        with pytest.raises(UserError, match="not installed"):
            capture.check()


def test_a_stalled_camera_is_reconnected_and_its_old_frames_are_discarded(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()
    with start(hanging(released, before=1), stall_s=0.8) as capture:
        sessions = [int(frame.rgb[0, 0, 0]) for frame in take(capture, 5)]
        assert sessions[0] == 0 < sessions[-1]
        released.set()  # the abandoned read returns
        assert all(frame.rgb[0, 0, 0] > 0 for frame in take(capture, 30))
    assert states(caplog)[:5] == ["connecting", "streaming", "stalled", "reconnecting", "streaming"]
    assert "gave no frame for 0.8 s" in caplog.text


def test_hung_reads_do_not_pile_up() -> None:
    released = threading.Event()
    with start(hanging(released, sessions=100), stall_s=0.02, max_hung_reads=2, hung_wait_s=WAIT_S) as capture:
        wait_until(lambda: capture.connects == 2)
        time.sleep(0.1)
        assert (capture.connects, capture.state) == (2, CameraState.STALLED)
        released.set()
        assert len(take(capture, 1)) == 1


def test_a_camera_whose_reads_all_hang_is_still_tried_again_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()
    with start(hanging(released, sessions=4), stall_s=0.02, max_hung_reads=2, hung_wait_s=0.02) as capture:
        assert take(capture, 1)[0].rgb[0, 0, 0] == 4
        released.set()
    assert caplog.text.count("2 reads hang; the next try is in 0 s") == 1


def test_closing_returns_while_a_read_hangs() -> None:
    released = threading.Event()
    with start(hanging(released, before=1), stall_s=WAIT_S, shutdown_grace_s=0.05) as capture:
        assert capture.newest(WAIT_S) is not None
        started_s = time.monotonic()
    assert time.monotonic() - started_s < WAIT_S / 2
    released.set()


def test_the_camera_is_closed_after_every_session() -> None:
    cameras: list[ScriptedCamera] = []
    script = camera(1, 1, error=CameraError("lost"))

    def make() -> ScriptedCamera:
        cameras.append(ScriptedCamera(script, live=True))
        return cameras[-1]

    with Capture(make, retry_wait_s=lambda _: 0.001, shutdown_grace_s=WAIT_S) as capture:
        take(capture, 4)
    assert len(cameras) == 3
    assert all(camera.closed.is_set() for camera in cameras)


def test_the_capture_time_of_the_camera_is_kept() -> None:
    captured_s = time.monotonic() - 0.25

    def run() -> Iterator[CameraFrame]:
        yield CameraFrame(image(), captured_s=captured_s)

    with start(run) as capture:
        assert take(capture, 1)[0].captured_s == captured_s


@pytest.mark.parametrize("replay", Replay)
def test_only_frames_that_cannot_be_dropped_are_prepared_by_the_reader_thread(replay: Replay) -> None:
    threads: set[str] = set()

    def prepare(rgb: Frame) -> Frame:
        threads.add(threading.current_thread().name)
        return rgb[::2, ::2]

    with start(recording(5), live=False, replay=replay, prepare=prepare) as capture:
        frames = take(capture, 5)
    every_frame = replay is Replay.EVERY_FRAME
    assert threads == ({"camera"} if every_frame else set())
    assert all((frame.model_rgb is not None) == every_frame for frame in frames)


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
        wait_until(lambda: capture.frames > 6)
        assert (capture.broken_frames, capture.connects) == (30, 1)
    assert caplog.text.count("rtsp://***@cam is damaged; 1 broken frames so far") == 1
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
    assert "can't start new thread" in caplog.text


def test_a_camera_that_stays_away_is_not_logged_at_each_try(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> Iterator[CameraFrame]:
        raise CameraError("no route")
        yield

    with start(run, retry_wait_s=lambda _: 0.0) as capture:
        wait_until(lambda: capture.connects > 50)
    assert 5 < caplog.text.count("no route") < 15
    assert len(states(caplog)) < 5
