"""Where results and events go: one file a kind, behind one small interface."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from edge.config import Config
from edge.messages import FireEvent, FrameResult, RunStatus

log = logging.getLogger(__name__)

QUIET_S = 60.0
"""How long a sink that keeps failing is not logged again."""


class Sink:
    """Gets every result and every event, in order, and a status about once a second; all in the loop's own thread.

    What takes long belongs in another thread. The frames and masks are shared: read them, never write into them.
    A sink overrides what it has use for.
    """

    def on_result(self, result: FrameResult) -> None:
        """One frame was looked at."""

    def on_event(self, event: FireEvent) -> None:
        """There is news of a fire; comes after the result that brought it."""

    def on_status(self, status: RunStatus) -> None:
        """How the run fares, whether or not frames come."""

    def on_config(self, config: Config) -> None:
        """The configuration was read anew; what concerns the sink itself needs a restart."""

    def close(self) -> None:
        """The run ends, and in under a second."""


class Sinks:
    """All sinks of a run. One that raises is logged and keeps neither the others nor the loop from going on."""

    def __init__(self, sinks: Sequence[Sink], clock: Callable[[], float]) -> None:
        self._sinks = sinks
        self._clock = clock
        self._logged_s: dict[str, float] = {}

    def on_result(self, result: FrameResult) -> None:
        for sink in self._sinks:
            self._guard(sink, lambda sink=sink: sink.on_result(result))  # type: ignore[misc]

    def on_event(self, event: FireEvent) -> None:
        for sink in self._sinks:
            self._guard(sink, lambda sink=sink: sink.on_event(event))  # type: ignore[misc]

    def on_status(self, status: RunStatus) -> None:
        for sink in self._sinks:
            self._guard(sink, lambda sink=sink: sink.on_status(status))  # type: ignore[misc]

    def on_config(self, config: Config) -> None:
        for sink in self._sinks:
            self._guard(sink, lambda sink=sink: sink.on_config(config))  # type: ignore[misc]

    def close(self) -> None:
        """All at the same time: each may take nearly a second to say goodbye."""
        closing = [threading.Thread(target=self._guard, args=(sink, sink.close)) for sink in self._sinks]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def _guard(self, sink: Sink, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            name, now_s = type(sink).__name__, self._clock()
            if now_s - self._logged_s.get(name, -QUIET_S) >= QUIET_S:
                self._logged_s[name] = now_s
                log.error("%s failed and is passed over (%s: %s)", name, type(error).__name__, error)
                log.debug("where it failed", exc_info=error)
