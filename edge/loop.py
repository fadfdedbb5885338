"""The loop: newest frame -> result -> sinks, until the source ends or somebody says so."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from edge.camera.capture import Capture
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.errors import UserError
from edge.host.throttle import Throttle
from edge.messages import START, RunStatus
from edge.sinks import Sinks

log = logging.getLogger(__name__)

STATUS_S = 1.0
"""How often the sinks are told how the run fares."""
TICK_S = 0.1
"""How long the loop waits at most before it looks whether it should end."""


@dataclass
class RunControl:
    """What signals ask of the loop. Handlers only set flags: locks in a handler can lock for ever."""

    stop: bool = False
    reload: bool = False


@dataclass
class Summary:
    """What a run came to."""

    results: int = 0
    dropped: int = 0
    fires: int = 0
    seconds: float = 0.0
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    """Of the last results."""

    def line(self, source: str) -> str:
        ages = sorted(self.ages_ms)
        age = f", median age {ages[len(ages) // 2]:.0f} ms" if ages else ""
        fires = "no fire" if not self.fires else "1 fire" if self.fires == 1 else f"{self.fires} fires"
        rate = self.results / self.seconds if self.seconds else 0.0
        return (
            f"{source}: {self.results} frames in {self.seconds:.1f} s ({rate:.1f} a second, {self.dropped} dropped"
            f"{age}), {fires}"
        )


class StatusReporter:
    """Tells the sinks how the run fares, at its beginning and then about once a second."""

    def __init__(self, capture: Capture, sinks: Sinks, pace: Throttle, events: EventTracker, began_s: float) -> None:
        self._capture, self._sinks, self._pace, self._events = capture, sinks, pace, events
        self._began_s = self._result_s = began_s
        self._told_s: float | None = None
        self._told_results = 0

    def had_result(self) -> None:
        self._result_s = time.monotonic()

    def tell(self, summary: Summary) -> None:
        """Tell, where it is time to."""
        now_s = time.monotonic()
        since_s = math.inf if self._told_s is None else now_s - self._told_s
        if since_s < STATUS_S:
            return
        status = RunStatus(
            source=self._events.source,
            camera_state=self._capture.state,
            connects=self._capture.connects,
            running_s=now_s - self._began_s,
            results=summary.results,
            dropped=summary.dropped,
            fps=(summary.results - self._told_results) / since_s,
            last_result_age_s=now_s - self._result_s,
            machine=self._pace.machine,
            model_sha256=self._events.model_sha256,
        )
        self._told_s, self._told_results = now_s, summary.results
        self._sinks.on_status(status)


def run_loop(
    capture: Capture,
    watch: Detector,
    sinks: Sinks,
    pace: Throttle,
    orders: RunControl,
    *,
    events: EventTracker,
    reload: Callable[[], None],
    max_frames: int | None = None,
) -> Summary:
    """Run until the source ends, `max_frames` results are out, or `orders.stop`. Raises the capture's `UserError`."""
    summary, began_s = Summary(), time.monotonic()
    teller = StatusReporter(capture, sinks, pace, events, began_s)
    while not orders.stop and not capture.ended and (max_frames is None or summary.results < max_frames):
        if orders.reload:
            orders.reload = False
            try:
                reload()
            except UserError as error:
                log.error("the new configuration is refused, the old one goes on: %s", "; ".join(error.lines))
        pace.look_after()
        teller.tell(summary)
        if (wait_s := pace.wait_s()) > 0:
            time.sleep(min(wait_s, TICK_S))
            continue
        frame = capture.newest(TICK_S)
        if frame is None:
            continue
        pace.took()
        result, news = watch.process(frame)
        sinks.on_result(result)
        for event in news:
            sinks.on_event(event)
            summary.fires += event.kind == START
        summary.results += 1
        summary.dropped = frame.number - summary.results
        summary.ages_ms.append(result.age_ms)
        pace.done()
        teller.had_result()
    summary.seconds = time.monotonic() - began_s
    return summary


@contextmanager
def obeying_signals(orders: RunControl) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop, SIGHUP lets it read its configuration anew."""

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            orders.reload = True
        else:
            orders.stop = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
