"""Write to stdout or stderr in another thread: a reader that hangs or goes away never blocks the loop."""

from __future__ import annotations

import errno
import logging
import os
import queue
import select
from collections.abc import Callable
from typing import TextIO

from edge.errors import reason_of
from edge.threads import Worker

log = logging.getLogger(__name__)

MAX_QUEUED = 1000
LOG_GRACE_S = 0.3  # how long log lines and the last line may take to be written on exit
POLL_S = 0.1
CLOSED_ERRNOS = {errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF}
"""How a write fails when the reader is gone for good; EIO is a closed terminal."""


class StreamWriter:
    """Writes texts to a stream, in order, in its own thread.

    It writes to a copy of the file descriptor: a blocked write would keep the lock of Python's buffer, and `silence`
    redirects the descriptor itself. If the reader is gone, or hangs on `close`, both are redirected to /dev/null: later
    prints neither block nor fail.

    Args:
        name: of the stream, for the log.
        max_queued: further texts are dropped; the log says how many, unless only one is queued at a time.
        on_closed: called when the reader is gone.
    """

    def __init__(
        self, out: TextIO, name: str, *, max_queued: int = MAX_QUEUED, on_closed: Callable[[], None] = lambda: None
    ) -> None:
        self._out, self._name = out, name
        self._descriptor = _copied_descriptor(out)
        self._max_queued, self._on_closed = max_queued, on_closed
        self.wait_while: Callable[[], bool] = lambda: False
        """While this returns true, `write` returns once the text is written, and nothing is dropped."""
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._dropped = 0
        self._closed = self._failing = False
        self._worker = Worker(f"{name} writer", self._run)
        self._worker.start()

    def write(self, text: str, max_queued: int | None = None) -> None:
        """Queue a text, or drop it if too many are queued; never blocks, except for `wait_while`."""
        if self._closed:
            return
        queued = self._queue.qsize()
        if queued >= (max_queued or self._max_queued) and not self.wait_while():
            self._dropped += 1
            if self._dropped == 1 and self._max_queued > 1:
                log.warning("%s is read too slowly: dropping lines", self._name)
            return
        if self._dropped and queued <= self._max_queued // 10:
            self._report_dropped("is read again")
        self._queue.put(text)
        written = self._queue.all_tasks_done
        while self.wait_while() and not self._closed:
            self._worker.restart()  # if the system refused it: the loop, which would retry, waits here
            with written:
                if written.wait_for(lambda: not self._queue.unfinished_tasks, POLL_S):
                    return

    def close(self, grace_s: float) -> None:
        """Let the reader take the queued texts, for at most `grace_s`."""
        if self._dropped:
            self._report_dropped("ends")
        self._queue.put(None)
        self._worker.restart()
        self._worker.join(grace_s)
        if self._worker.is_alive():
            self._closed = True
            self._dropped = self._queue.qsize()  # the end mark stands for the text that is being written
            self._redirect_to_null()
            self._report_dropped("hangs")
        elif self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self._closed = None, True

    def _run(self) -> None:
        while not self._closed and (text := self._queue.get()) is not None:
            try:
                self._write_now(text)
                self._failing = False
            except Exception as error:  # any kind: the thread must survive
                if self._closed:  # `close` gave up on this write
                    return
                if isinstance(error, OSError) and error.errno in CLOSED_ERRNOS:
                    self._closed = True
                    self._redirect_to_null()
                    self._on_closed()
                elif not self._failing:  # such as a full disk
                    self._failing = True
                    log.error("%s could not be written (%s)", self._name, reason_of(error))
            self._queue.task_done()

    def _write_now(self, text: str) -> None:
        if self._descriptor is None:
            self._out.write(text)
            self._out.flush()
            return
        data = text.encode(self._out.encoding or "utf-8", "backslashreplace")
        while data and not self._closed:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process on this terminal made it non-blocking
                select.select([], [self._descriptor], [])

    def _report_dropped(self, state: str) -> None:
        dropped, self._dropped = self._dropped, 0
        if self._max_queued > 1:
            log.warning("%s %s: %d lines were dropped", self._name, state, dropped)

    def _redirect_to_null(self) -> None:
        if self._descriptor is not None and not self._out.closed:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._descriptor, inheritable=False)
            os.dup2(null, self._out.fileno())
            os.close(null)


def print_last_line(line: str, out: TextIO) -> None:
    """Print a line on exit if the reader takes it within `LOG_GRACE_S`."""
    writer = StreamWriter(out, "output")
    writer.write(line + "\n")
    writer.close(LOG_GRACE_S)


def _copied_descriptor(out: TextIO) -> int | None:
    """Return a copy of the stream's file descriptor, its buffer flushed; None for an in-memory stream."""
    try:
        out.flush()
        return os.dup(out.fileno())
    except (OSError, ValueError):
        return None
