"""A sink that fails stops neither the other sinks nor the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.messages import START, FireEvent, FrameResult, ReceiverStatus
from edge.sinks import LOG_INTERVAL_S, Sink, Sinks, log_failure
from tests.support.factories import event, result

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


def test_the_other_sinks_get_everything(caplog: pytest.LogCaptureFixture) -> None:
    recording = Recording()
    sinks = Sinks([Failing(), recording], clock=lambda: 0.0)
    sinks.on_result(result(0, 0, on=False))
    sinks.on_event(event(START))
    assert (sinks.receivers(), sinks.lost_files()) == ((MQTT,), 2)
    sinks.close()
    assert recording.calls == ["result", "start", "close"]
    assert "Failing failed (OSError: broker is gone)" in caplog.text


def test_a_sink_that_keeps_failing_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    sinks = Sinks([Failing()], clock=lambda: now_s)
    for second in range(int(2 * LOG_INTERVAL_S)):
        now_s = float(second)
        sinks.on_result(result(0, 0, on=False))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


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
