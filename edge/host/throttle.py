"""Limit the frame rate, and lower it while the machine is too hot.

A throttled Pi slows down in steps and drops frames unpredictably; halving the rate keeps results recent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from edge.host.machine import HOT_C, UNKNOWN, HostStatus, read_state
from edge.threads import Worker

log = logging.getLogger(__name__)

MACHINE_POLL_S = 10.0
STALE_AFTER_S = 60.0  # an older status of the machine is unknown: its firmware hangs
COOL_C = HOT_C - 5
SLOWEST_S = 1.0
"""Longest interval that heat causes: an alarm takes several results and must still be raised within seconds."""


def in_background(job: Callable[[], None]) -> Worker:
    """Call a function in another thread; keep what this returns, so that a refused thread is tried again."""
    worker = Worker("host status", job)
    worker.start()
    return worker


@dataclass(eq=False)
class Throttle:
    """Decides when the next frame may be processed."""

    max_fps: float
    """Results per second at most; 0 for no limit."""
    _: KW_ONLY
    slow_when_hot: bool
    """Halve the rate while the machine is hot or throttled."""
    clock: Callable[[], float] = time.monotonic
    read_machine: Callable[[], HostStatus] = read_state
    run_job: Callable[[Callable[[], None]], object] = in_background
    """Runs a function that may block: the Pi's firmware can hang."""

    def __post_init__(self) -> None:
        self._halvings = 0
        self._started_s = self.clock() - SLOWEST_S
        self._busy_s = 0.0
        self.machine = UNKNOWN
        """Status of the machine at the last poll."""
        self._read: HostStatus | None = None  # by the job, for the loop's thread
        self._read_s = self.clock()
        self._job: object = None
        self._polled_s = self.clock() - MACHINE_POLL_S
        self.poll()

    def wait_s(self) -> float:
        """Return the seconds until the next frame may be processed."""
        return max(0.0, self._started_s + self.interval_s() - self.clock())

    def interval_s(self) -> float:
        """Return the shortest time from one frame to the next."""
        interval_s = 1 / self.max_fps if self.max_fps else 0.0
        if self._halvings:
            # If the machine is slower than the limit, or there is none, its processing time is doubled instead.
            interval_s = max(interval_s, min(max(interval_s, self._busy_s) * 2**self._halvings, SLOWEST_S))
        return interval_s

    def start(self) -> None:
        """Note that processing of a frame starts."""
        self._started_s = self.clock()

    def finish(self) -> None:
        """Note that its result is out."""
        self._busy_s = self.clock() - self._started_s

    def poll(self) -> None:
        """Take the machine's status, read in the background, and adapt the rate; never blocks."""
        now_s = self.clock()
        if self._job is None and now_s - self._polled_s >= MACHINE_POLL_S:
            self._polled_s = now_s
            self._job = self.run_job(self._read_machine) or True
        if self._read is not None:
            self.machine, self._read, self._read_s, self._job = self._read, None, now_s, None
            self._adapt()
        elif now_s - self._read_s >= STALE_AFTER_S and self.machine is not UNKNOWN:
            log.warning("the machine's temperature and throttling cannot be read any more")
            self.machine = UNKNOWN

    def _read_machine(self) -> None:
        self._read = self.read_machine()

    def _adapt(self) -> None:
        """Halve or restore the rate."""
        if not self.slow_when_hot:
            self._halvings = 0  # as after a reload
            return
        machine = self.machine
        throttled = machine.throttling.now if machine.throttling else []
        is_hot = machine.temperature_c is not None and machine.temperature_c >= HOT_C
        is_cool = machine.temperature_c is None or machine.temperature_c < COOL_C
        if throttled or is_hot:
            reasons = ", ".join([*throttled, *([f"{machine.temperature_c:.0f} °C"] if is_hot else [])])
            if self.interval_s() < SLOWEST_S or not self._halvings:
                self._halvings += 1
                log.warning("slowing down (%s): a result every %.2f s at most", reasons, self.interval_s())
        elif is_cool and self._halvings:
            self._halvings -= 1
            log.info("the machine has recovered: a result every %.2f s at most", self.interval_s())
