"""What `fireseg-edge run` says: JSON lines for programs, one calm line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from edge.events import END, PEAK, START, Event, Result
from edge.sinks import Sink

PLAIN_EVERY_S = 60.0
"""How often a plain log says that all is well."""
WORDS = {START: "FIRE", PEAK: "at its largest so far", END: "over"}
CLEAR_LINE = "\r\x1b[2K"


class JsonLines(Sink):
    """One JSON object a line on stdout, results and events."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def on_result(self, result: Result) -> None:
        self._write(result.as_json())

    def on_event(self, event: Event) -> None:
        self._write(event.as_json())

    def _write(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._out, flush=True)


class StatusLine(Sink):
    """One line on a terminal that is written over, events above it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def on_result(self, result: Result) -> None:
        self._out.write(CLEAR_LINE + status(result))
        self._out.flush()

    def on_event(self, event: Event) -> None:
        self._out.write(f"{CLEAR_LINE}{told(event)}\n")
        self._out.flush()

    def close(self) -> None:
        self._out.write(CLEAR_LINE)
        self._out.flush()


class PlainLines(Sink):
    """Events as lines, and once a minute that all is well."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._said_s: float | None = None

    def on_result(self, result: Result) -> None:
        if self._said_s is None or not 0 <= result.t_s - self._said_s < PLAIN_EVERY_S:
            self._said_s = result.t_s
            print(status(result), file=self._out, flush=True)

    def on_event(self, event: Event) -> None:
        print(told(event), file=self._out, flush=True)


def status(result: Result) -> str:
    burning = ", ".join(name for name, on in result.alarms.items() if on)
    return (
        f"{clock_time(result.t_s)}  {'FIRE in ' + burning if burning else 'no fire'}  "
        f"{result.fire_share:.1%} burning  {result.age_ms:.0f} ms old  {result.inference_ms:.0f} ms inference"
    )


def told(event: Event) -> str:
    return f"{clock_time(event.t_s)}  {event.zone}: {WORDS[event.kind]}, {event.share:.1%} burning  [{event.id}]"


def clock_time(t_s: float) -> str:
    minutes, seconds = divmod(max(t_s, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:d}:{minutes:02d}:{seconds:04.1f}"
