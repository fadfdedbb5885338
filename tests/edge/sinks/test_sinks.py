"""A sink that fails costs itself, and nobody else."""

from __future__ import annotations

import logging

import pytest

from edge.messages import START, FireEvent, FrameResult
from edge.sinks import QUIET_S, Sink, Sinks
from tests.support.factories import event, result


class Broken(Sink):
    def on_result(self, result: FrameResult) -> None:
        raise OSError("broker is gone")

    def on_event(self, event: FireEvent) -> None:
        raise ValueError("odd event")

    def close(self) -> None:
        raise RuntimeError("will not close")


class Kept(Sink):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_result(self, result: FrameResult) -> None:
        self.seen.append("result")

    def on_event(self, event: FireEvent) -> None:
        self.seen.append(event.kind)

    def close(self) -> None:
        self.seen.append("close")


def test_the_others_get_everything(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    sinks = Sinks([Broken(), kept], clock=lambda: 0.0)
    sinks.on_result(result(0, 0, on=False))
    sinks.on_event(event(START))
    sinks.close()
    assert kept.seen == ["result", "start", "close"]
    assert "Broken failed and is passed over (OSError: broker is gone)" in caplog.text


def test_a_sink_that_keeps_failing_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    sinks = Sinks([Broken()], clock=lambda: now_s)
    for second in range(int(2 * QUIET_S)):
        now_s = float(second)
        sinks.on_result(result(0, 0, on=False))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
