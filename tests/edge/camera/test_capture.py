"""Capture keeps the newest frame, of cameras that are slow, end, fail, stall and hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edge.camera.base import CameraError, CameraFrame, CameraState
from edge.camera.capture import Capture
from edge.camera.replay import Replay
from edge.errors import UserError
from edge.images import Frame
from tests.support.scripted_camera import (
    WAIT_S,
    ScriptedCamera,
    camera,
    hanging,
    image,
    recording,
    start,
    states,
    take,
)
from tests.support.waiting import wait_for


def test_every_frame_mode_delivers_all_frames_in_order_to_a_slow_reader() -> None:
    with start(recording(20), live=False, replay=Replay.EVERY_FRAME) as capture:
        frames = take(capture, 100, pause_s=0.002)
    assert [frame.number for frame in frames] == list(range(1, 21))
    assert [frame.t_s for frame in frames] == [number / 1000 for number in range(20)]


def test_in_real_time_a_slow_reader_gets_the_newest_frame() -> None:
    with start(recording(2000, fps=400), live=False) as capture:
        (first,) = take(capture, 1)
        wait_for(lambda: capture.frames > first.number + 10)
        frames_so_far = capture.frames
        assert take(capture, 1)[0].number >= frames_so_far


def test_frames_that_a_camera_skipped_count_as_read() -> None:
    with start(lambda: iter([CameraFrame(image(), skipped=4)]), live=False) as capture:
        assert [frame.number for frame in take(capture, 2)] == [5]
    assert capture.frames == 5


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
    released, taken = threading.Event(), threading.Event()

    def retry_wait_s(_: int) -> float:
        taken.wait(WAIT_S)
        return 0.01

    with start(hanging(released, before=1), stall_s=0.8, retry_wait_s=retry_wait_s) as capture:
        frames = take(capture, 1)
        taken.set()
        sessions = [int(frame.rgb[0, 0, 0]) for frame in [*frames, *take(capture, 4)]]
        assert sessions[0] == 0 < sessions[-1]
        released.set()  # the abandoned read returns
        assert all(frame.rgb[0, 0, 0] > 0 for frame in take(capture, 30))
    assert states(caplog)[:5] == ["connecting", "streaming", "stalled", "reconnecting", "streaming"]
    assert "sent no frame for 0.8 s" in caplog.text


def test_hung_reads_do_not_pile_up() -> None:
    released = threading.Event()
    with start(hanging(released, sessions=100), stall_s=0.02, max_hung_reads=2, hung_wait_s=WAIT_S) as capture:
        wait_for(lambda: capture.connects == 2)
        wait_for(lambda: capture.state is CameraState.STALLED)
        time.sleep(0.1)
        assert capture.connects == 2
        released.set()
        assert len(take(capture, 1)) == 1


def test_a_read_that_returns_after_the_camera_was_given_up_does_not_revive_it() -> None:
    released = threading.Event()
    with start(hanging(released, sessions=100), stall_s=0.02, reconnect_limit=1) as capture:
        wait_for(lambda: capture.ended)
        released.set()
        wait_for(lambda: not capture._hung_reads)
        assert (capture.state, capture.frames) == (CameraState.ENDED, 0)
        with pytest.raises(UserError):
            capture.check()


def test_a_camera_whose_reads_all_hang_is_still_tried_again_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()
    with start(hanging(released, sessions=4), stall_s=0.5, max_hung_reads=2, hung_wait_s=0.02) as capture:
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
