"""The loop: newest frame -> result -> sinks, until the source ends or somebody says so."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from edge.capture import Capture
from edge.errors import UserError
from edge.events import START
from edge.pace import Pace
from edge.sinks import Sinks
from edge.watch import Watch

log = logging.getLogger(__name__)

TICK_S = 0.1
"""How long the loop waits at most before it looks whether it should end."""


@dataclass
class Orders:
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
    ages_ms: list[float] = field(default_factory=list)
    """Of the last results, at most a thousand."""

    def line(self, source: str) -> str:
        ages = sorted(self.ages_ms)
        age = f", median age {ages[len(ages) // 2]:.0f} ms" if ages else ""
        fires = "no fire" if not self.fires else "1 fire" if self.fires == 1 else f"{self.fires} fires"
        rate = self.results / self.seconds if self.seconds else 0.0
        return (
            f"{source}: {self.results} frames in {self.seconds:.1f} s ({rate:.1f} a second, {self.dropped} dropped"
            f"{age}), {fires}"
        )


def run_loop(
    capture: Capture,
    watch: Watch,
    sinks: Sinks,
    pace: Pace,
    orders: Orders,
    *,
    reload: Callable[[], None],
    max_frames: int | None = None,
) -> Summary:
    """Run until the source ends, `max_frames` results are out, or `orders.stop`. Raises the capture's `UserError`."""
    summary, began_s = Summary(), time.monotonic()
    while not orders.stop and not capture.ended and (max_frames is None or summary.results < max_frames):
        if orders.reload:
            orders.reload = False
            try:
                reload()
            except UserError as error:
                log.error("the new configuration is refused, the old one goes on: %s", "; ".join(error.args))
        if (wait_s := pace.wait_s()) > 0:
            time.sleep(min(wait_s, TICK_S))
            continue
        frame = capture.newest(TICK_S)
        if frame is None:
            continue
        pace.took()
        result, events = watch.look(frame)
        sinks.on_result(result)
        for event in events:
            sinks.on_event(event)
            summary.fires += event.kind == START
        summary.results += 1
        summary.dropped = frame.number - summary.results
        summary.ages_ms = [*summary.ages_ms[-999:], result.age_ms]
        pace.done()
    summary.seconds = time.monotonic() - began_s
    return summary


@contextmanager
def obeying_signals(orders: Orders) -> Iterator[None]:
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
