"""The loop tells its sinks everything in order, and once a second how it fares, with or without frames."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from edge.camera.base import Camera, CameraFrame
from edge.camera.capture import Capture, Replay
from edge.camera.pattern import PatternCamera
from edge.errors import UserError
from edge.host.machine import HostStatus
from edge.host.throttle import Throttle
from edge.loop import RunControl, run_loop
from edge.messages import CameraState, FireEvent, FrameResult, RunStatus
from edge.sinks import Sink, Sinks
from tests.support.factories import MODEL_HASH, watch

MACHINE = HostStatus(None, 55.0, None, 0.1)


class Silent:
    """A camera that is there and gives nothing, until it is let go."""

    name, live = "silent", True

    def __init__(self, let_go: threading.Event) -> None:
        self._let_go = let_go

    def open(self) -> None:
        pass

    def read(self) -> CameraFrame | None:
        self._let_go.wait()
        return None

    def close(self) -> None:
        pass


class Kept(Sink):
    def __init__(self) -> None:
        self.told: list[FrameResult | FireEvent | RunStatus] = []

    def on_result(self, result: FrameResult) -> None:
        self.told.append(result)

    def on_event(self, event: FireEvent) -> None:
        self.told.append(event)

    def on_status(self, status: RunStatus) -> None:
        self.told.append(status)

    @property
    def statuses(self) -> list[RunStatus]:
        return [one for one in self.told if isinstance(one, RunStatus)]


def loop(
    make: Callable[[], Camera],
    *,
    orders: RunControl | None = None,
    reload: Callable[[], None] = lambda: None,
    max_frames: int | None = None,
) -> Kept:
    kept, watched = Kept(), watch()
    pace = Throttle(0, slow_when_hot=False, look=lambda: MACHINE)
    with Capture(make, replay=Replay.EVERY_FRAME, prepare=watched.prepare) as capture:
        run_loop(
            capture, watched, Sinks([kept], time.monotonic), pace, orders or RunControl(),
            events=watched.events, reload=reload, max_frames=max_frames,
        )  # fmt: skip
    return kept


def test_sinks_hear_of_the_run_first_then_each_result_before_its_events() -> None:
    told = loop(lambda: PatternCamera(fps=10), max_frames=80).told
    assert isinstance(told[0], RunStatus)
    results = [one for one in told if isinstance(one, FrameResult)]
    assert [result.frame for result in results] == list(range(1, 81))
    (at,) = (at for at, one in enumerate(told) if isinstance(one, FireEvent))
    before = next(one for one in reversed(told[:at]) if isinstance(one, FrameResult))
    assert before.alarm


def test_the_status_says_what_the_run_came_to_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.loop.STATUS_S", 0.001)
    told = loop(lambda: PatternCamera(fps=10), max_frames=20).told
    for at, status in enumerate(told):
        if isinstance(status, RunStatus):
            assert status.results == sum(isinstance(one, FrameResult) for one in told[:at])
    first, *_, last = (one for one in told if isinstance(one, RunStatus))
    assert (first.source, first.model_sha256) == ("test", MODEL_HASH)
    assert (last.dropped, last.connects, last.camera_state) == (0, 1, CameraState.STREAMING)
    assert last.machine is MACHINE
    assert last.fps > 0
    assert last.last_result_age_s < last.running_s


def test_a_camera_that_gives_nothing_is_told_of_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.loop.STATUS_S", 0.05)
    orders, let_go = RunControl(), threading.Event()

    def stop() -> None:
        orders.stop = True
        let_go.set()

    threading.Timer(0.6, stop).start()
    statuses = loop(lambda: Silent(let_go), orders=orders).statuses
    assert 3 <= len(statuses) <= 13
    quiet = [status.last_result_age_s for status in statuses]
    assert all(later > earlier for earlier, later in itertools.pairwise(quiet))
    assert {(status.results, status.fps) for status in statuses} == {(0, 0.0)}


def test_a_refused_reload_is_logged_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise UserError("model gone.tflite could not be read")

    told = loop(lambda: PatternCamera(fps=10), orders=RunControl(reload=True), reload=refuse, max_frames=3).told
    assert sum(isinstance(one, FrameResult) for one in told) == 3
    assert "refused, the old one goes on: model gone.tflite could not be read" in caplog.text
