"""A sink that fails stops neither the other sinks nor the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.messages import END, PROBLEM, START, CameraEvent, Event, FireEvent, FrameResult, UpdateEvent
from edge.run_status import ReceiverStatus
from edge.sinks import LOG_INTERVAL_S, Sink, Sinks, log_failure
from tests.support.factories import camera_event, event, result, update_event
from tests.support.waiting import TIMEOUT_S

MQTT = ReceiverStatus("mqtt", "", 1, 1, dropped=0, dead_letters=0, retries=0, waiting=0, oldest_age_s=0.0)


class Failing(Sink):
    def on_result(self, result: FrameResult) -> None:
        raise OSError("broker is gone")

    def on_event(self, event: FireEvent) -> None:
        raise ValueError("odd event")

    def receivers(self) -> Sequence[ReceiverStatus]:
        raise LookupError("no queue")

    @property
    def lost_files(self) -> int:
        raise OSError("no folder")

    def close(self) -> None:
        raise RuntimeError("will not close")


class Recording(Sink):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_result(self, result: FrameResult) -> None:
        self.calls.append("result")

    def on_event(self, event: FireEvent) -> None:
        self.calls.append(event.kind)

    def receivers(self) -> Sequence[ReceiverStatus]:
        return (MQTT,)

    @property
    def lost_files(self) -> int:
        return 2

    def close(self) -> None:
        self.calls.append("close")


def test_an_event_of_the_camera_or_of_an_update_is_stored_and_goes_to_its_own_method() -> None:
    class Camera(Storing):
        def on_camera_event(self, event: CameraEvent) -> None:
            self.calls.append(f"camera {event.kind}")

        def on_update_event(self, event: UpdateEvent) -> None:
            self.calls.append(f"update {event.kind}")

    written = threading.Event()
    written.set()
    camera = Camera(written)
    sinks = Sinks([camera], lambda: 0.0)
    sinks.on_event(camera_event(PROBLEM))
    sinks.on_event(update_event(PROBLEM))
    assert camera.calls == ["store problem", "camera problem", "store problem", "update problem"]


def test_the_other_sinks_get_everything(caplog: pytest.LogCaptureFixture) -> None:
    recording = Recording()
    sinks = Sinks([Failing(), recording], clock=lambda: 0.0)
    sinks.on_result(result(0, 0, on=False))
    sinks.on_event(event(START))
    assert (sinks.receivers(), sinks.lost_files()) == ((MQTT,), 2)
    sinks.close()
    assert recording.calls == ["result", "start", "close"]
    assert "Failing failed (broker is gone)" in caplog.text


def test_a_sink_that_keeps_failing_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    sinks = Sinks([Failing()], clock=lambda: now_s)
    for second in range(int(2 * LOG_INTERVAL_S)):
        now_s = float(second)
        sinks.on_result(result(0, 0, on=False))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


class Storing(Recording):
    """Stores events, done or never."""

    def __init__(self, written: threading.Event) -> None:
        super().__init__()
        self.written = written

    def store_event(self, event: Event) -> threading.Event:
        self.calls.append(f"store {event.kind}")
        return self.written


def test_an_event_is_on_disk_before_any_sink_publishes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sinks.STORE_WAIT_S", TIMEOUT_S)
    first, last = Recording(), Storing(threading.Event())
    first.calls = last.calls

    def write() -> None:
        last.calls.append("on disk")
        last.written.set()

    timer = threading.Timer(0.05, write)
    timer.start()
    Sinks([first, last], clock=lambda: 0.0).on_event(event(START))
    assert last.calls == ["store start", "on disk", "start", "start"]


def test_a_hung_disk_delays_events_once_and_is_logged_when_it_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("edge.sinks.STORE_WAIT_S", 0.01)
    sink = Storing(threading.Event())
    sinks = Sinks([sink], clock=lambda: 0.0)
    for _ in range(3):
        sinks.on_event(event(START))
    assert sinks.late_writes == 3
    sink.written.set()
    sinks.on_event(event(END))
    assert sink.calls == [*["store start", "start"] * 3, "store end", "end"]
    assert sinks.late_writes == 3
    assert [record.message for record in caplog.records] == [
        "the disk is slow or hangs: events are published before they are on disk",
        "events are on disk again before they are published",
    ]


def fail() -> None:
    raise ZeroDivisionError("division by zero")


def test_a_background_job_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(fail).add_done_callback(log_failure)
    assert "a background job of a sink failed (ZeroDivisionError: division by zero)" in caplog.text


def test_all_sinks_are_closed_where_no_further_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recordings = Recording(), Recording()
    Sinks(recordings, clock=lambda: 0.0).close()
    assert [recording.calls for recording in recordings] == [["close"], ["close"]]
