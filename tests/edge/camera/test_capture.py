"""The newest frame of sources that dawdle, end, fail, stand still and hang."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge.camera.base import CameraError, CameraFrame
from edge.camera.capture import MAX_HANGING, Capture, Replay, TimedFrame
from edge.errors import UserError
from edge.images import Frame
from edge.messages import CameraState

WAIT_S = 20.0  # for what takes milliseconds on an idle machine
Script = Callable[[], Iterator[CameraFrame]]


class Scripted:
    """A source that does as its script says: each opening runs it anew."""

    def __init__(self, script: Script, *, live: bool) -> None:
        self.name = "rtsp://***@camera/live"
        self.live = live
        self._script = script
        self._shots: Iterator[CameraFrame] = iter(())
        self.closed = threading.Event()

    def open(self) -> None:
        self._shots = self._script()

    def read(self) -> CameraFrame | None:
        return next(self._shots, None)

    def close(self) -> None:
        self.closed.set()


def picture(number: int = 0) -> Frame:
    return np.full((4, 6, 3), number, np.uint8)


def recording(count: int, fps: float = 1000.0) -> Script:
    return lambda: (CameraFrame(picture(number), t_s=number / fps) for number in range(count))


def camera(*frames_before_each_failure: int, error: Exception | None = None) -> Script:
    """Gives so many frames at each opening and then ends, or fails; at the last, it goes on for ever."""
    connects = iter(frames_before_each_failure)

    def run() -> Iterator[CameraFrame]:
        for number in range(next(connects, 1_000_000)):
            yield CameraFrame(picture(number % 256))
            time.sleep(0.002)
        if error:
            raise error

    return run


def capture(script: Script, *, live: bool = False, **options: object) -> Capture:
    options.setdefault("wait_s", lambda _: 0.01)
    return Capture(lambda: Scripted(script, live=live), **options)  # type: ignore[arg-type]


def frames(source: Capture, count: int) -> list[TimedFrame]:
    taken: list[TimedFrame] = []
    gives_up_s = time.monotonic() + WAIT_S
    while len(taken) < count and not source.ended:
        assert time.monotonic() < gives_up_s, f"only {len(taken)} frames came"
        if (frame := source.newest(0.05)) is not None:
            taken.append(frame)
    return taken


def wait_until(true: Callable[[], bool]) -> None:
    gives_up_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < gives_up_s, "it never came"
        time.sleep(0.002)


def states(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(arg) for record in caplog.records for arg in record.args or () if isinstance(arg, CameraState)]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge.camera.capture")


def test_every_frame_of_a_recording_comes_in_order_however_slow_the_reader() -> None:
    with capture(recording(20), replay=Replay.EVERY_FRAME) as source:
        taken = []
        while not source.ended:
            if (frame := source.newest(WAIT_S)) is not None:
                taken.append(frame)
                time.sleep(0.005)
    assert [frame.number for frame in taken] == list(range(1, 21))
    assert [frame.t_s for frame in taken] == [number / 1000 for number in range(20)]


def test_in_real_time_a_slow_reader_gets_the_newest_frame_and_the_rest_is_dropped() -> None:
    with capture(recording(2000, fps=400)) as source:
        first = source.newest(WAIT_S)
        assert first is not None
        wait_until(lambda: source.frames > first.number + 10)
        so_far = source.frames
        second = source.newest(WAIT_S)
        assert second is not None
        assert second.number >= so_far
        assert time.monotonic() - second.captured_s < 0.1


def test_a_recording_in_real_time_takes_as_long_as_it_is() -> None:
    began_s = time.monotonic()
    with capture(recording(31, fps=100)) as source:
        taken = frames(source, 100)
    assert time.monotonic() - began_s >= 0.3
    assert taken[-1].t_s == 0.3


def test_a_frame_is_given_once_and_waiting_for_the_next_ends_in_time() -> None:
    def one() -> Iterator[CameraFrame]:
        yield CameraFrame(picture())
        time.sleep(0.5)

    with capture(one, live=True, stall_s=WAIT_S) as source:
        assert source.newest(WAIT_S) is not None
        assert source.newest(0.02) is None


def test_a_camera_that_ends_is_opened_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    with capture(camera(3, 2), live=True) as source:
        taken = frames(source, 40)
    assert [frame.number for frame in taken] == sorted({frame.number for frame in taken})
    assert states(caplog)[:6] == ["connecting", "streaming", "reconnecting", "streaming", "reconnecting", "streaming"]
    assert "camera/live ended; trying again in 0 s" in caplog.text


def test_the_time_of_a_camera_goes_on_over_a_reconnection() -> None:
    with capture(camera(3), live=True, wait_s=lambda _: 0.05) as source:
        times = [frame.t_s for frame in frames(source, 10)]
    assert times == sorted(times)
    assert times[-1] >= 0.05


def test_a_camera_that_fails_is_opened_again_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with capture(camera(0, 0, 1, error=CameraError("no route to rtsp://me:hunter2@camera")), live=True) as source:
        assert len(frames(source, 5)) == 5
    assert "no route to rtsp://***@camera; trying again" in caplog.text
    assert "hunter2" not in caplog.text


def test_an_unexpected_failure_of_a_driver_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    with capture(camera(1, error=ZeroDivisionError("driver")), live=True) as source:
        assert len(frames(source, 5)) == 5
    assert "failed (ZeroDivisionError: driver)" in caplog.text


def test_after_the_limit_of_failures_in_a_row_it_gives_up_with_one_line() -> None:
    with capture(camera(0, 0, 0, 0, 0, error=CameraError("no route")), live=True, reconnect_limit=2) as source:
        with pytest.raises(UserError, match="no route; gave up after 3 failures in a row"):
            source.newest(WAIT_S)
        assert source.state is CameraState.ENDED


def test_a_frame_between_failures_starts_the_count_anew() -> None:
    with capture(camera(1, 1, 1, 1, 1, 1), live=True, reconnect_limit=1) as source:
        assert len(frames(source, 20)) == 20


def test_what_trying_again_will_not_mend_is_told_at_once() -> None:
    def broken() -> Iterator[CameraFrame]:
        raise UserError("picamera2 is not installed")
        yield

    with capture(broken, live=True) as source, pytest.raises(UserError, match="not installed"):
        source.newest(WAIT_S)


def test_a_camera_that_stands_still_has_stalled_and_is_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    hang, connects = threading.Event(), iter(range(100))

    def run() -> Iterator[CameraFrame]:
        opening = next(connects)
        yield CameraFrame(picture(opening))
        if opening == 0:
            hang.wait(WAIT_S)  # a read that does not come back
        while True:
            yield CameraFrame(picture(opening))
            time.sleep(0.002)

    with capture(run, live=True, stall_s=0.5) as source:
        taken = frames(source, 5)
        assert taken[0].rgb[0, 0, 0] == 0
        assert taken[-1].rgb[0, 0, 0] == 1
        hang.set()
    assert states(caplog)[:5] == ["connecting", "streaming", "stalled", "reconnecting", "streaming"]
    assert "gave no frame for 0.5 s" in caplog.text


def test_a_read_left_behind_that_comes_back_gives_no_old_frame() -> None:
    hang, connects = threading.Event(), iter(range(100))

    def run() -> Iterator[CameraFrame]:
        opening = next(connects)
        if opening == 0:
            hang.wait(WAIT_S)
        while True:
            yield CameraFrame(picture(opening))
            time.sleep(0.002)

    with capture(run, live=True, stall_s=0.5) as source:
        frames(source, 3)
        hang.set()
        assert {int(frame.rgb[0, 0, 0]) for frame in frames(source, 30)} == {1}


def test_reads_that_hang_for_ever_do_not_pile_up() -> None:
    hang, connects = threading.Event(), []

    def run() -> Iterator[CameraFrame]:
        connects.append(1)
        hang.wait(WAIT_S)
        yield CameraFrame(picture())

    with capture(run, live=True, stall_s=0.02) as source:
        wait_until(lambda: len(connects) == MAX_HANGING)
        time.sleep(0.3)
        assert len(connects) == MAX_HANGING
        hang.set()
        assert len(frames(source, 1)) == 1


def test_closing_comes_back_within_a_second_even_from_a_read_that_hangs() -> None:
    hang = threading.Event()

    def run() -> Iterator[CameraFrame]:
        yield CameraFrame(picture())
        hang.wait(WAIT_S)

    with capture(run, live=True, stall_s=WAIT_S) as source:
        assert source.newest(WAIT_S) is not None
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 1
    hang.set()


def test_a_source_is_closed_whatever_happens() -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(Scripted(camera(1, 1, error=CameraError("lost")), live=True))
        return made[-1]

    with Capture(make, wait_s=lambda _: 0.001) as source:
        frames(source, 4)
    assert len(made) >= 3
    assert all(source.closed.wait(WAIT_S) for source in made)


def test_the_camera_s_own_stamp_counts_where_it_gives_one() -> None:
    stamp_s = time.monotonic() - 0.25

    def run() -> Iterator[CameraFrame]:
        yield CameraFrame(picture(), captured_s=stamp_s)
        time.sleep(0.5)

    with capture(run, live=True, stall_s=WAIT_S) as source:
        frame = source.newest(WAIT_S)
    assert frame is not None
    assert frame.captured_s == stamp_s


def test_where_nothing_is_dropped_the_reading_thread_prepares_the_frames() -> None:
    readers: set[str] = set()

    def prepare(rgb: Frame) -> Frame:
        readers.add(threading.current_thread().name)
        return rgb[::2, ::2]

    with capture(recording(5), replay=Replay.EVERY_FRAME, prepare=prepare) as source:
        taken = frames(source, 5)
    assert all(np.array_equal(one.small, one.rgb[::2, ::2]) for one in taken if one.small is not None)
    assert [one.small is None for one in taken] == [False] * 5
    assert readers == {"camera"}


def test_where_frames_may_be_dropped_none_is_prepared_for_nothing() -> None:
    with capture(recording(5), replay=Replay.REALTIME, prepare=lambda rgb: rgb) as source:
        assert all(one.small is None for one in frames(source, 1))


def test_the_camera_is_closed_when_the_capture_is_over_even_in_the_middle_of_a_read() -> None:
    def slow() -> Iterator[CameraFrame]:
        yield CameraFrame(picture())
        time.sleep(0.2)
        yield CameraFrame(picture())

    source = Scripted(slow, live=True)
    with Capture(lambda: source) as watched:
        frames(watched, 1)
    assert source.closed.is_set()
