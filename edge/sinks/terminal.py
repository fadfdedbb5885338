"""What `fireseg-edge run` says: JSON lines for programs, one calm line on a terminal, plain lines elsewhere.

Stdout and stderr are pipes to somebody who may stop reading, or go away. So each is written by a thread of its own,
and the loop only leaves there what is to be said.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import select
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from edge.messages import END, PEAK, START, FireEvent, FrameResult
from edge.secrets import RedactingFormatter
from edge.signals import RunControl
from edge.sinks import Sink

log = logging.getLogger(__name__)

PLAIN_EVERY_S = 60.0
"""How often a plain log says that all is well."""
WORDS = {START: "FIRE", PEAK: "at its largest so far", END: "over"}
CLEAR_LINE = "\r\x1b[2K"
ROOM = 1000
"""How many results wait at most for a slow reader; the next ones are left out."""
ROOM_FOR_EVENTS = 5000
"""How many results and events wait at most."""
CLOSE_WAIT_S = 0.8
"""How long an end waits for a reader to take what waits."""
SAY_WAIT_S = 0.3
"""The same for log lines, and for the last line of all."""
TICK_S = 0.1
"""How long it may take to notice that a reader is waited for no longer."""
GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF}
"""How a write fails where nobody will ever read again; EIO is a terminal that was closed."""


class Outlet:
    """Writes what it is given to a stream, in order, by a thread of its own: a write that hangs holds up nobody else.

    The stream's own buffer is passed by, since a write that hangs would keep its lock. What cannot be got rid of (the
    reader is gone, or hangs at the end) leaves the descriptor pointing at /dev/null: whoever prints there afterwards
    neither hangs nor fails.

    Args:
        name: of the stream, for the log.
        text: makes an item a text; mostly called by the thread.
        room: how many items wait before the next are left out.
        on_gone: called when there is no reader any more.
    """

    def __init__(
        self,
        out: TextIO,
        name: str,
        *,
        text: Callable[[Any], str] = str,
        room: int = ROOM,
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        self._out, self._name = out, name
        self._descriptor = descriptor(out)
        self._is_pipe = self._descriptor is not None and stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        self._text = text
        self._room = room
        self._on_gone = on_gone
        self.patient: Callable[[], bool] | None = None
        """While it says so, `put` comes back only when the item is written, and nothing is ever left out."""
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lost = 0
        self._gone = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"{name} writer", daemon=True)
        self._thread.start()

    def put(self, item: Any, room: int | None = None) -> bool:
        """Whether the item was taken over; otherwise it is left out. Comes back at once, unless `patient`."""
        if self._gone:
            return False
        if self.patient and self.patient():
            if self._is_pipe and self._takes(data := self._encode(self._text(item))):
                self._try(lambda: self._write(data))
                return True
            self._waiting.put((item, True))
            while self.patient() and not self._gone:
                try:
                    self._written.get(timeout=TICK_S)
                    break
                except queue.Empty:
                    continue
            return True
        waiting = self._waiting.qsize()
        if waiting >= (room or self._room):
            self._lost += 1
            if self._lost == 1 and self._room > 1:
                log.warning("%s is read too slowly: lines are left out", self._name)
            return False
        if self._lost and waiting <= self._room // 10:
            self._tell_lost("is read again")
        self._waiting.put((item, False))
        return True

    def close(self, timeout_s: float = CLOSE_WAIT_S) -> None:
        """Give the reader a moment to take what waits."""
        if self._lost:
            self._tell_lost("ends")
        self._waiting.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._lost = self._waiting.qsize()  # with the one that hangs, without the mark of the end
            self._let_go()
            self._tell_lost("hangs")

    def _tell_lost(self, now: str) -> None:
        lost, self._lost = self._lost, 0
        if self._room > 1:
            log.warning("%s %s: %d lines were left out", self._name, now, lost)

    def _run(self) -> None:
        while not self._gone and (taken := self._waiting.get()) is not None:
            item, is_waited_for = taken
            self._try(lambda item=item: self._write_text(self._text(item)))  # type: ignore[misc]
            if is_waited_for:
                self._written.put(None)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._failing = False
        except Exception as error:  # of whatever kind: a thread that ends would write nothing ever again
            if isinstance(error, OSError) and error.errno in GONE:
                self._gone = True
                self._let_go()
                if self._on_gone:
                    self._on_gone()
            elif not self._failing:  # such as a full disk
                self._failing = True
                log.error("%s could not be written (%s: %s)", self._name, type(error).__name__, error)

    def _write_text(self, text: str) -> None:
        if self._descriptor is None:
            self._out.write(text)
            self._out.flush()
        else:
            self._write(self._encode(text))

    def _encode(self, text: str) -> bytes:
        return text.encode(self._out.encoding or "utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # who shares the terminal with us may have made it so
                select.select([], [self._descriptor], [])

    def _takes(self, data: bytes) -> bool:
        """Whether a write comes back at once for sure; only a pipe promises that, and only for so much."""
        assert self._descriptor is not None
        return len(data) <= select.PIPE_BUF and bool(select.select([], [self._descriptor], [], 0)[1])

    def _let_go(self) -> None:
        if self._descriptor is not None and not self._out.closed:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)


def say(line: str, out: TextIO) -> None:
    """Print a last line where that is possible; comes back soon in any case."""
    outlet = Outlet(out, "output", text="{}\n".format)
    outlet.put(line)
    outlet.close(SAY_WAIT_S)


def descriptor(out: TextIO) -> int | None:
    """The stream's, with nothing left in its buffer; None for one within Python."""
    try:
        out.flush()
        return out.fileno()
    except (OSError, ValueError):
        return None


class Terminal(Sink):
    """What all of them share: the thread that writes, and what becomes of a run that nobody reads."""

    def __init__(
        self, out: TextIO | None = None, *, text: Callable[[Any], str] = "{}\n".format, room: int = ROOM
    ) -> None:
        self._orders: RunControl | None = None
        if out is None:  # Python has no stdout where it was closed from the start
            out = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
        self._outlet = Outlet(out, "stdout", text=text, room=room, on_gone=self._on_gone)

    def attend(self, orders: RunControl, *, patient: bool, alone: bool) -> None:
        """Take part in a run.

        Args:
            patient: wait for a slow reader, until the run is to end: for recordings, of which nothing may be missing.
            alone: this is the only sink, so that the run ends with its reader.
        """
        if patient:
            self._outlet.patient = lambda: not orders.stop
        if alone:
            self._orders = orders

    def close(self) -> None:
        self._outlet.close()

    def _on_gone(self) -> None:
        if self._orders:
            log.info("nobody reads stdout any more, and nobody else is told anything: the run ends")
            self._orders.stop = True
        else:
            log.warning("nobody reads stdout any more; the run goes on without it")


class JsonLines(Terminal):
    """One JSON object a line on stdout, results and events."""

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__(out, text=lambda line: json.dumps(line) + "\n")

    def on_result(self, result: FrameResult) -> None:
        self._outlet.put(result.as_json())

    def on_event(self, event: FireEvent) -> None:
        self._outlet.put(event.as_json(), ROOM_FOR_EVENTS)


class StatusLine(Terminal):
    """One line on a terminal that is written over, events above it."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out, text=str, room=1)  # a line that waits is old: no second one behind it

    def attend(self, orders: RunControl, *, patient: bool, alone: bool) -> None:
        super().attend(orders, patient=False, alone=alone)

    def on_result(self, result: FrameResult) -> None:
        self._outlet.put(CLEAR_LINE + status(result))

    def on_event(self, event: FireEvent) -> None:
        self._outlet.put(f"{CLEAR_LINE}{told(event)}\n", ROOM_FOR_EVENTS)

    def close(self) -> None:
        self._outlet.put(CLEAR_LINE, ROOM_FOR_EVENTS)
        super().close()


class PlainLines(Terminal):
    """Events as lines, and once a minute that all is well."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._said_s: float | None = None

    def on_result(self, result: FrameResult) -> None:
        if self._said_s is None or not 0 <= result.t_s - self._said_s < PLAIN_EVERY_S:
            self._said_s = result.t_s
            self._outlet.put(status(result))

    def on_event(self, event: FireEvent) -> None:
        self._outlet.put(told(event), ROOM_FOR_EVENTS)


class LogLines(logging.Handler):
    """Log lines for people, without credentials, and clear of the status line."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._outlet = Outlet(out, "stderr")
        clear = CLEAR_LINE if out.isatty() else ""
        self.setFormatter(RedactingFormatter(f"{clear}%(asctime)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outlet.put(self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._outlet.close(SAY_WAIT_S)
        super().close()


def status(result: FrameResult) -> str:
    burning = ", ".join(name for name, on in result.alarms.items() if on)
    return (
        f"{clock_time(result.t_s)}  {'FIRE in ' + burning if burning else 'no fire'}  "
        f"{result.fire_share:.1%} burning  {result.age_ms:.0f} ms old  {result.inference_ms:.0f} ms inference"
    )


def told(event: FireEvent) -> str:
    return f"{clock_time(event.t_s)}  {event.zone}: {WORDS[event.kind]}, {event.share:.1%} burning  [{event.id}]"


def clock_time(t_s: float) -> str:
    minutes, seconds = divmod(max(t_s, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:d}:{minutes:02d}:{seconds:04.1f}"
