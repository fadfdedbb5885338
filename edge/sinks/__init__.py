"""Where results and events go: one file per kind of sink, all behind the `Sink` interface."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from edge.config import Config
from edge.messages import FireEvent, FrameResult, ReceiverStatus, RunStatus

log = logging.getLogger(__name__)

SHUTDOWN_GRACE_S = 0.8  # how long a sink that closes waits for work under way
LOG_INTERVAL_S = 60.0  # a sink that keeps failing is logged this often


def log_failure(job: Future[None]) -> None:
    """Log the exception of a job that a sink submitted to an executor, where nobody reads the result."""
    if not job.cancelled() and (error := job.exception()):
        log.error("a background job of a sink failed (%s: %s)", type(error).__name__, error)


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

    def on_event(self, event: FireEvent) -> None:
        """Handle a fire event; called after the result that caused it."""

    def on_status(self, status: RunStatus) -> None:
        """Handle the status of the run; called even when no frames arrive."""

    def on_config(self, config: Config) -> None:
        """Handle a reloaded configuration; settings of the sink itself need a restart."""

    def receivers(self) -> Sequence[ReceiverStatus]:
        """Return the state of delivery to each receiver of this sink; called about once a second."""
        return ()

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

    def on_result(self, result: FrameResult) -> None:
        self._call_each(lambda sink: sink.on_result(result))

    def on_event(self, event: FireEvent) -> None:
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
            except (RuntimeError, MemoryError):  # no further thread: one after the other
                self._guard(sink, lambda sink: sink.close())
        for thread in threads:
            thread.join()

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
                log.error("%s failed (%s: %s)", name, type(error).__name__, error)
                log.debug("traceback", exc_info=error)
