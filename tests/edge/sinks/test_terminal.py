"""What a run says on stdout."""

from __future__ import annotations

import io
import json

from edge.events import END, START
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine
from tests.edge.watching import event, result


def test_json_is_one_object_a_line_in_the_order_things_happened() -> None:
    out = io.StringIO()
    sink = JsonLines(out)
    sink.on_result(result(1.0, 0.1, on=True))
    sink.on_event(event(START))
    assert [json.loads(line)["type"] for line in out.getvalue().splitlines()] == ["result", "event"]


def test_a_terminal_has_one_line_that_is_written_over_and_events_stay_above_it() -> None:
    out = io.StringIO()
    sink = StatusLine(out)
    for number in range(5):
        sink.on_result(result(number / 10, 0.0, on=False))
    sink.on_event(event(START))
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
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 + 1
    assert lines[-1].startswith("1:01:01.5  frame: over")
    assert "\r" not in out.getvalue()
