"""Where results and events go: one file per kind of sink, all behind the `Sink` interface."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from edge.config import Config
from edge.errors import reason_of
from edge.messages import CameraEvent, Event, FireEvent, FrameResult, UpdateEvent
from edge.run_status import Link, ReceiverStatus, RunStatus

log = logging.getLogger(__name__)

SHUTDOWN_GRACE_S = 0.8  # how long a sink that closes waits for work under way
STORE_WAIT_S = 0.2  # how long an event may take to be written to disk before it is published all the same
LOG_INTERVAL_S = 60.0  # a sink that keeps failing is logged this often


def log_failure(job: Future[None]) -> None:
    """Log the exception of a job that a sink submitted to an executor, where nobody reads the result."""
    if not job.cancelled() and (error := job.exception()):
        log.error("a background job of a sink failed (%s)", reason_of(error))


class Sink:
    """Receives every result and event in order, and a status about once a second, in the loop's thread.

    Override the methods you need. Slow work belongs in another thread. Frames and masks are shared: never write to
    them.

    Example:
        >>> class PrintEvents(Sink):
        ...     def on_event(self, event: FireEvent) -> None:
        ...         print(event.kind, event.zone)
    """

    def on_result(self, result: FrameResult) -> None:
        """Handle the result of one frame."""

    def store_event(self, event: Event) -> threading.Event | None:
        """Start writing an event to disk in another thread; return an event that is set when it is written.

        Called before `on_event` of any sink, so that a published event survives a kill.
        """
        return None

    def on_event(self, event: FireEvent) -> None:
        """Handle a fire event; called after the result that caused it."""

    def on_camera_event(self, event: CameraEvent) -> None:
        """Handle a problem of the camera, or its end; called after the result that caused it."""

    def on_update_event(self, event: UpdateEvent) -> None:
        """Handle a failed update of the model, or its end."""

    def on_status(self, status: RunStatus) -> None:
        """Handle the status of the run; called even when no frames arrive."""

    def on_config(self, config: Config) -> None:
        """Handle a reloaded configuration; settings of the sink itself need a restart."""

    def receivers(self) -> Sequence[ReceiverStatus]:
        """Return the state of delivery to each receiver of this sink; called about once a second."""
        return ()

    def links(self) -> Sequence[Link]:
        """Return what a fire drill checks of this sink; by default, its receivers."""
        return [Link(status.name, status.problem, status.last_delivered) for status in self.receivers()]

    @property
    def lost_files(self) -> int:
        """How many files could not be written."""
        return 0

    def close(self) -> None:
        """Finish, in about a second."""


class Sinks:
    """All sinks of a run, called in order. A sink that raises is logged and stops neither the others nor the loop.

    Args:
        clock: monotonic seconds, to limit how often a failing sink is logged.
    """

    def __init__(self, sinks: Sequence[Sink], clock: Callable[[], float]) -> None:
        self._sinks = sinks
        self._clock = clock
        self._logged_s: dict[str, float] = {}
        self._unwritten: threading.Event | None = None  # set once a write that took too long is done
        self.late_writes = 0  # events published before they were on disk

    def on_result(self, result: FrameResult) -> None:
        self._call_each(lambda sink: sink.on_result(result))

    def on_event(self, event: Event) -> None:
        """Publish an event once it is on disk; at the latest after `STORE_WAIT_S`, for a disk that hangs."""
        writes: list[threading.Event | None] = []
        self._call_each(lambda sink: writes.append(sink.store_event(event)))
        self._wait_for([written for written in writes if written])
        if isinstance(event, CameraEvent):
            self._call_each(lambda sink: sink.on_camera_event(event))
        elif isinstance(event, UpdateEvent):
            self._call_each(lambda sink: sink.on_update_event(event))
        else:
            self._call_each(lambda sink: sink.on_event(event))

    def on_status(self, status: RunStatus) -> None:
        self._call_each(lambda sink: sink.on_status(status))

    def on_config(self, config: Config) -> None:
        self._call_each(lambda sink: sink.on_config(config))

    def receivers(self) -> tuple[ReceiverStatus, ...]:
        """Return the state of delivery to all receivers."""
        statuses: list[ReceiverStatus] = []
        self._call_each(lambda sink: statuses.extend(sink.receivers()))
        return tuple(statuses)

    def links(self) -> list[Link]:
        """Return what a fire drill checks of all sinks."""
        links: list[Link] = []
        self._call_each(lambda sink: links.extend(sink.links()))
        return links

    def lost_files(self) -> int:
        """Return how many files could not be written."""
        counts: list[int] = []
        self._call_each(lambda sink: counts.append(sink.lost_files))
        return sum(counts)

    def close(self) -> None:
        """Close all sinks at the same time, since each may take about a second."""
        threads = []
        for sink in self._sinks:
            thread = threading.Thread(target=self._guard, args=(sink, lambda sink: sink.close()))
            try:
                thread.start()
                threads.append(thread)
            except (RuntimeError, MemoryError):  # thread limit reached: close one after the other
                self._guard(sink, lambda sink: sink.close())
        for thread in threads:
            thread.join()

    def _wait_for(self, writes: Sequence[threading.Event]) -> None:
        """Wait until all are set, but not again while an earlier write still hangs."""
        if not writes:
            return
        if self._unwritten is None or self._unwritten.is_set():
            deadline_s = time.monotonic() + STORE_WAIT_S
            late = [written for written in writes if not written.wait(max(0.0, deadline_s - time.monotonic()))]
            if not late:
                if self._unwritten:
                    log.info("events are on disk again before they are published")
                self._unwritten = None
                return
            if self._unwritten is None:
                log.warning("the disk is slow or hangs: events are published before they are on disk")
            self._unwritten = late[-1]
        self.late_writes += 1

    def _call_each(self, call: Callable[[Sink], None]) -> None:
        for sink in self._sinks:
            self._guard(sink, call)

    def _guard(self, sink: Sink, call: Callable[[Sink], None]) -> None:
        try:
            call(sink)
        except Exception as error:
            name, now_s = type(sink).__name__, self._clock()
            if now_s - self._logged_s.get(name, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
                self._logged_s[name] = now_s
                log.error("%s failed (%s)", name, reason_of(error))
                log.debug("traceback", exc_info=error)
