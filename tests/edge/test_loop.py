"""The loop sends everything to the sinks in order, and a status once per interval, with or without frames."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from edge.camera.base import Camera, CameraFrame
from edge.camera.capture import Capture
from edge.camera.pattern import PatternCamera
from edge.camera.replay import Replay
from edge.errors import UserError
from edge.host.machine import HostStatus
from edge.host.throttle import Throttle
from edge.loop import run_loop
from edge.messages import CameraState, FireEvent, FrameResult
from edge.reload import Reloader, Setup
from edge.run_status import ArmingStatus, RunStatus
from edge.signals import RunControl, install_signal_handlers
from edge.sinks import Sink, Sinks
from edge.status import StatusReporter, Summary
from tests.support.factories import MODEL_HASH, make_detector

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
MACHINE = HostStatus(None, 55.0, None, 0.1)
Message = TypeVar("Message", FrameResult, FireEvent, RunStatus)


class SilentCamera:
    """A camera that opens and gives no frame until it is released."""

    name, live = "silent", True

    def __init__(self, released: threading.Event) -> None:
        self._released = released

    def open(self) -> None:
        pass

    def read(self) -> CameraFrame | None:
        self._released.wait()
        return None

    def close(self) -> None:
        pass


def refuse() -> Setup:
    raise UserError("model gone.tflite could not be read", "check the path")


class Recorder(Sink):
    """Keeps every message; `on_message` is called with their number."""

    def __init__(self, on_message: Callable[[int], None]) -> None:
        self.messages: list[FrameResult | FireEvent | RunStatus] = []
        self._on_message = on_message

    def on_result(self, message: FrameResult | FireEvent | RunStatus) -> None:
        self.messages.append(message)
        self._on_message(len(self.messages))

    on_event = on_status = on_result  # type: ignore[assignment]

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]


def loop(
    make: Callable[[], Camera],
    *,
    control: RunControl | None = None,
    reloader: Reloader | None = None,
    max_frames: int | None = None,
    max_fps: float = 0,
    on_message: Callable[[int], None] = lambda _: None,
) -> Recorder:
    """Run the loop; the clock of its statuses advances by a second whenever it is read."""
    recorder, detector, clock = Recorder(on_message), make_detector(), itertools.count()
    sinks, throttle = (
        Sinks([recorder], time.monotonic),
        Throttle(max_fps, slow_when_hot=False, read_machine=lambda: MACHINE, run_job=lambda job: job()),
    )
    with Capture(make, replay=Replay.EVERY_FRAME, prepare=detector.prepare) as capture:
        reloader = reloader or Reloader(refuse, lambda _: None)
        reporter = StatusReporter(capture, sinks, throttle, detector, reloader, clock=lambda: next(clock), interval_s=3)
        control = control or RunControl()
        run_loop(
            capture, detector, sinks, throttle, control,
            reloader=reloader, max_frames=max_frames, reporter=reporter,
        )  # fmt: skip
    return recorder


def test_a_status_comes_first_and_each_result_before_its_events() -> None:
    recorder = loop(lambda: PatternCamera(fps=10), max_frames=60)
    assert isinstance(recorder.messages[0], RunStatus)
    assert [result.frame for result in recorder.of(FrameResult)] == list(range(1, 61))
    (event,) = recorder.of(FireEvent)
    before = recorder.messages[: recorder.messages.index(event)]
    assert next(message for message in reversed(before) if isinstance(message, FrameResult)).alarm


def test_a_status_has_the_totals_so_far() -> None:
    recorder = loop(lambda: PatternCamera(fps=10), max_frames=20)
    for at, status in enumerate(recorder.messages):
        if isinstance(status, RunStatus):
            assert status.results == sum(isinstance(message, FrameResult) for message in recorder.messages[:at])
    first, *_, last = recorder.of(RunStatus)
    assert (first.source, first.model_sha256) == ("test", MODEL_HASH)
    assert (last.dropped, last.connects, last.camera_state) == (0, 1, CameraState.STREAMING)
    assert last.machine is MACHINE
    assert last.fps > 0
    assert last.last_result_age_s < last.running_s


def test_a_silent_camera_is_reported_again_and_again() -> None:
    control, released = RunControl(), threading.Event()

    def stop_after_three(count: int) -> None:
        if count == 3:
            control.stop = True
            released.set()

    statuses = loop(lambda: SilentCamera(released), control=control, on_message=stop_after_three).of(RunStatus)
    ages_s = [status.last_result_age_s for status in statuses]
    assert len(ages_s) == 3
    assert all(later >= earlier + 3 for earlier, later in itertools.pairwise(ages_s))
    assert {(status.results, status.fps) for status in statuses} == {(0, 0.0)}


def test_a_silence_is_reported_before_the_next_status_is_due_and_changes_no_rate() -> None:
    recorder, detector, arming = Recorder(lambda _: None), make_detector(), [ArmingStatus()]
    throttle = Throttle(0, slow_when_hot=False, read_machine=lambda: MACHINE, run_job=lambda job: job())
    with Capture(lambda: PatternCamera(fps=10)) as capture:
        now_s, reloader = [0.0], Reloader(refuse, lambda _: None)
        reporter = StatusReporter(
            capture, Sinks([recorder], time.monotonic), throttle, detector, reloader,
            arming=lambda: arming[0], clock=lambda: now_s[0],
        )  # fmt: skip
        for now_s[0], results, arming[0] in (
            (0.0, 0, ArmingStatus()),
            (1.0, 10, ArmingStatus()),
            (1.5, 15, ArmingStatus(armed=False)),
            (1.6, 16, ArmingStatus(armed=False)),
        ):
            reporter.report(Summary(results=results))
    assert [(status.arming.armed, status.fps) for status in recorder.of(RunStatus)] == [
        (True, 0),
        (True, 10),
        (False, 10),
    ]


class FailingCamera:
    """A recording that fails after its first frame."""

    name, live = "failing", False

    def __init__(self) -> None:
        self._frames = PatternCamera(fps=10)

    def open(self) -> None:
        self._frames.open()

    def read(self) -> CameraFrame | None:
        frame = self._frames.read()
        if frame.t_s:
            raise UserError("failing is cut short", "copy it again")
        return frame

    def close(self) -> None:
        pass


@pytest.mark.parametrize("max_fps", [0, 0.5])
def test_the_error_of_a_camera_ends_the_loop_also_while_it_waits_for_its_rate(
    max_fps: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edge")
    with pytest.raises(UserError, match="failing is cut short: copy it again"):
        loop(FailingCamera, max_fps=max_fps)
    assert "test: 1 frame in " in caplog.text


def test_an_error_after_the_last_requested_frame_is_ignored() -> None:
    assert len(loop(FailingCamera, max_frames=1).of(FrameResult)) == 1


def test_signals_set_flags_and_get_their_handlers_back() -> None:
    control, handler = RunControl(), signal.getsignal(signal.SIGTERM)
    with install_signal_handlers(control):
        os.kill(os.getpid(), signal.SIGHUP)
        assert (control.reload, control.stop) == (True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert control.stop
    assert signal.getsignal(signal.SIGTERM) is handler


def test_only_events_and_ages_of_files_depend_on_the_wall_clock() -> None:
    # A clock that steps, as at boot without a network, must move no alarm and no time-out.
    # queue_files.py ends fires of an earlier run, and compares the times of files; notify.py says how late it is.
    # arming.py follows a schedule; what people choose ends by the monotonic clock. area_actions.py dates an area,
    # survey.py its picture, update.py the last check, failures.py the events of failed updates.
    # trend.py plots days and weeks, retention.py reads the ages of files.
    wall_clock, paths = re.compile(r"time\.time\b|datetime\.now"), (ROOT / "edge").rglob("*.py")
    assert {path.name for path in paths if wall_clock.search(path.read_text())} == {
        "arming.py",
        "events.py",
        "drill.py",
        "feedback.py",
        "doctor.py",
        "clips.py",
        "queue_files.py",
        "notify.py",
        "area_actions.py",
        "survey.py",
        "update.py",
        "failures.py",
        "trend.py",
        "retention.py",
    }


def test_results_continue_while_a_reload_is_prepared() -> None:
    ready, control = threading.Event(), RunControl(reload=True)

    def prepare() -> Setup:
        assert ready.wait(WAIT_S)
        raise UserError("it is bad")

    def on_message(count: int) -> None:
        if count == 10:
            ready.set()

    reloader = Reloader(prepare, lambda _: None)
    recorder = loop(
        lambda: PatternCamera(fps=10), control=control, reloader=reloader, max_frames=20, on_message=on_message
    )
    assert len(recorder.of(FrameResult)) == 20
