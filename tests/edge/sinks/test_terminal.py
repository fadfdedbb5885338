"""What a run says on stdout."""

from __future__ import annotations

import fcntl
import io
import json
import os
import time
from collections.abc import Iterator
from typing import TextIO

import pytest

from edge.messages import END, START
from edge.sinks.terminal import CLEAR_LINE, ROOM, JsonLines, PlainLines, StatusLine
from tests.support.factories import event, result


def test_json_is_one_object_a_line_in_the_order_things_happened() -> None:
    out = io.StringIO()
    sink = JsonLines(out)
    sink.on_result(result(1.0, 0.1, on=True))
    sink.on_event(event(START))
    sink.close()
    assert [json.loads(line)["type"] for line in out.getvalue().splitlines()] == ["result", "event"]


def test_a_terminal_has_one_line_that_is_written_over_and_events_stay_above_it() -> None:
    out = io.StringIO()
    sink = StatusLine(out)
    for number in range(5):
        sink.on_result(result(number / 10, 0.0, on=False))
    sink.on_event(event(START))
    gives_up_s = time.monotonic() + 10
    while "[" not in out.getvalue().replace(CLEAR_LINE, ""):
        assert time.monotonic() < gives_up_s
        time.sleep(0.001)
    sink.on_result(result(1.0, 0.1, on=True))
    sink.close()
    assert out.getvalue().count("\n") == 1
    above, below = out.getvalue().split("\n")
    assert "frame: FIRE, 10.0% burning" in above.split("\r")[-1]
    assert "FIRE in frame" in below
    assert below.endswith("\r\x1b[2K")


def test_where_there_is_no_terminal_events_are_lines_and_calm_is_a_line_a_minute() -> None:
    out = io.StringIO()
    sink = PlainLines(out)
    for t_s in range(150):
        sink.on_result(result(float(t_s), 0.0, on=False))
    sink.on_event(event(END, t_s=3661.5))
    sink.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 + 1
    assert lines[-1].startswith("1:01:01.5  frame: over")
    assert "\r" not in out.getvalue()


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """Reading and writing end of a pipe that holds some twenty lines."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(read, encoding="utf-8") as reader, os.fdopen(write, "w", encoding="utf-8") as writer:
        yield reader, writer


def test_a_reader_that_hangs_loses_results_but_no_events_and_learns_how_many(
    pipe: tuple[TextIO, TextIO], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = pipe
    sink = JsonLines(writer)
    given = ROOM + 500
    began_s = time.monotonic()
    for number in range(given):
        sink.on_result(result(number / 10, 0.0, on=False))
    sink.on_event(event(START))
    assert time.monotonic() - began_s < 1
    assert [record.getMessage() for record in caplog.records] == ["stdout is read too slowly: lines are left out"]

    lines = [json.loads(reader.readline()) for _ in range(ROOM)]
    while lines[-1]["type"] != "event":
        lines.append(json.loads(reader.readline()))
    times = [line["t_s"] for line in lines[:-1]]
    assert times[:ROOM] == [number / 10 for number in range(ROOM)]
    assert times == sorted(times)
    sink.on_result(result(999.0, 0.0, on=False))
    assert json.loads(reader.readline())["t_s"] == 999.0
    assert caplog.records[-1].getMessage() == f"stdout is read again: {given - len(times)} lines were left out"
    sink.close()
    assert len(caplog.records) == 2


def test_an_end_waits_for_a_slow_reader_but_not_for_one_that_hangs(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    sink = JsonLines(writer)
    for number in range(100):
        sink.on_result(result(number / 10, 0.0, on=False))
    began_s = time.monotonic()
    sink.close()
    assert 0.5 < time.monotonic() - began_s < 0.95
    print("what is said later", file=writer, flush=True)  # neither hangs nor fails
    assert json.loads(reader.readline())["t_s"] == 0.0


def test_a_terminal_that_hangs_shows_no_line_that_is_long_past(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    sink = StatusLine(writer)
    for number in range(1000):
        sink.on_result(result(float(number), 0.0, on=False))
        time.sleep(0.0002)
    sink.on_event(event(START))
    os.set_blocking(reader.fileno(), False)
    time.sleep(0.1)
    shown = reader.read()
    sink.close()
    shown += reader.read()
    assert "FIRE" in shown
    assert shown.count(CLEAR_LINE) < 100
