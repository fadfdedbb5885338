"""What a run reports about itself: its status once per interval, its failures once they change, its totals."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import cast

import pytest

from edge.camera.capture import Capture
from edge.detection.view_planner import ViewPlanner
from edge.errors import UserError
from edge.host.machine import HostStatus
from edge.host.throttle import Throttle
from edge.messages import CameraProblem, CameraState
from edge.reload import Reloader, Setup
from edge.run_status import FailureCounts, ReceiverStatus, RunStatus
from edge.sinks import Sink, Sinks
from edge.status import StatusReporter, Summary, failures_text
from tests.support.factories import make_detector, result

MACHINE = HostStatus(None, 55.0, None, 0.1)


class Statuses(Sink):
    def __init__(self) -> None:
        self.received: list[RunStatus] = []

    def on_status(self, status: RunStatus) -> None:
        self.received.append(status)


def refuse() -> Setup:
    raise UserError("model gone.tflite could not be read", "check the path")


def test_the_summary_names_source_frames_rate_age_and_fires() -> None:
    summary = Summary(results=20, passes=30, dropped=3, fires=2, seconds=2.0)
    summary.ages_ms.extend([10.0, 30.0, 20.0])
    totals = "10.0 per second, 3 dropped, median age 20 ms, 1.50 passes per frame"
    assert summary.line("test-pattern") == f"test-pattern: 20 frames in 2.0 s ({totals}), 2 fires"
    assert Summary(seconds=0.0).line("cam") == "cam: no frame was seen in 0.0 s"


@dataclass
class Counting:
    """A camera whose counts a test sets."""

    state: CameraState = CameraState.STREAMING
    connects: int = 1
    broken_frames: int = 0


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


class Reporting:
    """A status reporter whose clock, camera and totals a test sets."""

    def __init__(self) -> None:
        self.now_s, self.summary, self.camera = 0.0, Summary(), Counting()
        self.statuses = Statuses()
        self.reloader = Reloader(refuse, lambda _: None, fallback="the model is damaged")
        throttle = Throttle(0, slow_when_hot=False, read_machine=lambda: MACHINE, run_job=lambda job: job())
        self.detector = make_detector()
        self.reporter = StatusReporter(
            cast(Capture, self.camera), Sinks([self.statuses], time.monotonic), throttle, self.detector,
            self.reloader, clock=lambda: self.now_s,
        )  # fmt: skip

    def after(self, seconds: float, *, results: int = 0, dropped: int = 0) -> RunStatus:
        self.now_s += seconds
        self.summary.results += results
        self.summary.dropped += dropped
        self.reporter.report(self.summary)
        return self.statuses.received[-1]


def test_the_frame_rate_is_that_since_the_last_status(reporting: Reporting) -> None:
    assert reporting.after(0).fps == 0
    assert reporting.after(2, results=10, dropped=3).fps == 5
    status = reporting.after(4, results=4, dropped=1)
    assert (status.fps, status.results, status.dropped) == (1, 14, 4)
    assert reporting.after(0.5, results=100) is status, "not due"
    assert reporting.after(0.5).fps == 100


def test_a_status_says_for_how_long_the_camera_has_not_seen(reporting: Reporting) -> None:
    assert reporting.after(1).camera_problem is None
    for _ in range(2):
        reporting.reporter.result_done(replace(result(1, 0.1, on=True), camera_problem=CameraProblem.FROZEN))
        status = reporting.after(5)
    assert (status.camera_problem, status.camera_problem_for_s) == (CameraProblem.FROZEN, 10)
    reporting.reporter.result_done(result(2, 0.0, on=False))
    status = reporting.after(5)
    assert (status.camera_problem, status.camera_problem_for_s) == (None, 0)


def test_a_status_has_the_failures_and_the_fallback(reporting: Reporting) -> None:
    reporting.camera.broken_frames, reporting.reloader.failed = 3, 2
    status = reporting.after(1)
    assert (status.failures.broken_frames, status.failures.reloads) == (3, 2)
    assert status.fallback == "the model is damaged"


def test_a_status_has_the_fine_view_and_a_new_zoom_is_logged_once(
    reporting: Reporting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert reporting.after(1).fine_view is None
    reporting.detector.planner = planner = ViewPlanner("2", (224, 224), max_fps=10, passes_per_frame=3)
    for number in range(9):
        planner.plan((480, 640), number / 10)
        status = reporting.after(1)
    assert status.fine_view
    assert status.fine_view.zoom == 2
    assert status.fine_view.period_s == pytest.approx(0.2)
    planner.tiles = "1"
    planner.plan((480, 640), 1.0)
    assert reporting.after(1).fine_view is None
    logged = [line for line in caplog.messages if "tiles" in line]
    assert logged == ["tiles: whole frame at 2x every 0.2 s", "tiles: only the whole frame is seen"]


def test_growing_failures_are_logged_once_a_minute(reporting: Reporting, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(200):
        reporting.camera.broken_frames = min(second, 100)
        reporting.after(1)
    assert [record.message for record in caplog.records] == [
        "since the start: broken frames: 59",
        "since the start: broken frames: 100",
    ]


def test_what_is_lost_is_said_by_receiver() -> None:
    receiver = ReceiverStatus("mqtt", "", 9, 5, dropped=1, dead_letters=2, retries=7, waiting=0, oldest_age_s=0.0)
    failures = FailureCounts(lost_files=4, missing_threads=("capture",))
    text = "lost files: 4, events dropped for mqtt: 1, events set aside for mqtt: 2, missing thread: capture"
    assert failures_text(failures, [receiver]) == text
    assert failures_text(FailureCounts(), [replace(receiver, dropped=0, dead_letters=0)]) == ""


def test_infrared_light_and_a_paused_detection_are_in_the_status_and_logged_once(
    reporting: Reporting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for infrared in (False, True, True, False):
        reporting.reporter.result_done(replace(result(1, 0.0, on=False), infrared=infrared, paused=infrared))
        status = reporting.after(1)
        assert (status.infrared, status.paused) == (infrared, infrared)
    assert caplog.messages == [
        "infrared: frames have no colour; detection is paused",
        "frames have colour again",
    ]


def test_choices_that_could_not_be_saved_count_as_lost_files() -> None:
    run = Reporting()
    run.reporter.failed_saves = lambda: 2
    assert run.after(1).failures.lost_files == 2
