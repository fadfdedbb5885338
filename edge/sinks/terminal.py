"""Output of `fireseg-edge run`: JSON lines, one status line on a terminal, plain lines elsewhere, and the log."""

from __future__ import annotations

import json
import logging
from typing import Protocol, TextIO

from edge.messages import (
    END,
    PEAK,
    RECOVERED,
    START,
    STILL,
    CameraEvent,
    Event,
    FineView,
    FireEvent,
    FrameResult,
    UpdateEvent,
)
from edge.run_status import RunStatus
from edge.secrets import RedactingFormatter
from edge.sinks import SHUTDOWN_GRACE_S, Sink
from edge.sinks.stream_writer import LOG_GRACE_S, MAX_QUEUED, StreamWriter

log = logging.getLogger(__name__)

MAX_QUEUED_EVENTS = 5000  # events are queued up to this number of lines, results up to `MAX_QUEUED`
CALM_INTERVAL_S = 60.0  # how often plain lines report that there is no fire
EVENT_WORDS = {START: "FIRE", PEAK: "new peak", STILL: "FIRE goes on", END: "cleared"}
CLEAR_LINE = "\r\x1b[2K"


class Stoppable(Protocol):
    """A run that can be asked to stop."""

    stop: bool


class Terminal(Sink):
    """Base of the sinks that write to stdout; `close` waits `grace_s` for the reader."""

    max_queued = MAX_QUEUED

    def __init__(self, out: TextIO, *, grace_s: float = SHUTDOWN_GRACE_S) -> None:
        self._grace_s = grace_s
        self._run: Stoppable | None = None
        self._writer = StreamWriter(out, "stdout", max_queued=self.max_queued, on_closed=self._on_closed)

    def connect(self, run: Stoppable, *, lossless: bool, is_only_sink: bool) -> None:
        """Connect to a run.

        Args:
            lossless: wait for a slow reader until the run stops; for recordings, of which no result may be dropped.
            is_only_sink: the run stops when the reader is gone.
        """
        if lossless and self.max_queued > 1:
            self._writer.wait_while = lambda: not run.stop
        if is_only_sink:
            self._run = run

    def on_event(self, event: FireEvent) -> None:
        self._write_event(event)

    def on_camera_event(self, event: CameraEvent) -> None:
        self._write_event(event)

    def on_update_event(self, event: UpdateEvent) -> None:
        self._write_event(event)

    def close(self) -> None:
        self._writer.close(self._grace_s)

    def _write_event(self, event: Event) -> None:
        self._writer.write(f"{event_text(event)}\n", MAX_QUEUED_EVENTS)

    def _on_closed(self) -> None:
        if self._run:
            self._run.stop = True
            log.info("stdout was closed and there is no other sink: stopping")
        else:
            log.warning("stdout was closed; continuing without it")


class JsonLines(Terminal):
    """One JSON object per line for each result and event."""

    def on_result(self, result: FrameResult) -> None:
        self._writer.write(json.dumps(result.as_json()) + "\n")

    def _write_event(self, event: Event) -> None:
        self._writer.write(json.dumps(event.as_json()) + "\n", MAX_QUEUED_EVENTS)


class StatusLine(Terminal):
    """One line on a terminal that is overwritten, with events above it."""

    max_queued = 1  # never queue outdated lines

    def on_result(self, result: FrameResult) -> None:
        self._writer.write(CLEAR_LINE + status_text(result))

    def _write_event(self, event: Event) -> None:
        self._writer.write(f"{CLEAR_LINE}{event_text(event)}\n", MAX_QUEUED_EVENTS)

    def close(self) -> None:
        self._writer.write(CLEAR_LINE, MAX_QUEUED_EVENTS)
        super().close()


class PlainLines(Terminal):
    """A line per event, and once a minute a status."""

    _status_t_s: float | None = None
    _fine_view: FineView | None = None

    def on_status(self, status: RunStatus) -> None:
        self._fine_view = status.fine_view

    def on_result(self, result: FrameResult) -> None:
        if self._status_t_s is None or not 0 <= result.t_s - self._status_t_s < CALM_INTERVAL_S:
            self._status_t_s = result.t_s
            tiles = f"  {self._fine_view}" if self._fine_view else ""
            self._writer.write(f"{status_text(result)}{tiles}\n")


class LogHandler(logging.StreamHandler[StreamWriter]):
    """Writes log lines without credentials, and clear of the status line."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(StreamWriter(out, "stderr"))
        clear = CLEAR_LINE if out.isatty() else ""
        self.setFormatter(RedactingFormatter(f"{clear}%(asctime)s %(message)s", "%H:%M:%S"))

    def close(self) -> None:
        self.stream.close(LOG_GRACE_S)
        super().close()


def status_text(result: FrameResult) -> str:
    silences = {zone: f" ({silence})" for zone, silence in result.silences.items()}
    zones = ", ".join(f"{zone}{silences.get(zone, '')}" for zone, alarm in result.alarms.items() if alarm)
    calm = f"no alarm{next(iter(silences.values()), '')}"
    problem = f"CAMERA PROBLEM: {result.camera_problem}  " if result.camera_problem else ""
    problem += "FIRE DRILL  " if result.drill else ""
    problem += "PAUSED: infrared  " if result.paused else "infrared  " if result.infrared else ""
    return (
        f"{clock_time(result.t_s)}  {'FIRE in ' + zones if zones else calm}  {problem}"
        f"fire area {result.fire_share:.1%}  {result.age_ms:.0f} ms old  {result.inference_ms:.0f} ms inference"
    )


def event_text(event: Event) -> str:
    if isinstance(event, UpdateEvent):
        words = "no longer a problem:" if event.kind == RECOVERED else "PROBLEM:"
        return f"model update {words} {event.problem}  [{event.id}]"
    if isinstance(event, CameraEvent):
        words = "can see again, no longer" if event.kind == RECOVERED else "PROBLEM:"
        return f"{clock_time(event.t_s)}  camera {words} {event.problem}  [{event.id}]"
    words = f"{'DRILL: ' if event.drill else ''}{EVENT_WORDS[event.kind]}"
    words += f" ({event.silence})" if event.silence else ""
    return f"{clock_time(event.t_s)}  {event.zone}: {words}, fire area {event.share:.1%}  [{event.id}]"


def clock_time(t_s: float) -> str:
    minutes, seconds = divmod(max(t_s, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:d}:{minutes:02d}:{seconds:04.1f}"
