"""Limit the frame rate, and lower it while the machine is too hot.

A throttled Pi slows down in steps and drops frames unpredictably; halving the rate keeps results recent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from edge.host.machine import HOT_C, HostStatus, read_state

log = logging.getLogger(__name__)

MACHINE_POLL_S = 10.0
COOL_C = HOT_C - 5
SLOWEST_S = 1.0
"""Longest interval that heat causes: an alarm takes several results and must still be raised within seconds."""


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

    def __post_init__(self) -> None:
        self._halvings = 0
        self._polled_s = self.clock()
        self.machine = self.read_machine()
        """Status of the machine at the last poll."""
        self._started_s = self.clock() - SLOWEST_S
        self._busy_s = 0.0

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
        """Read the machine's status, if that is due, and adapt the rate."""
        if self.clock() - self._polled_s < MACHINE_POLL_S:
            return
        self._polled_s, self.machine = self.clock(), self.read_machine()
        if not self.slow_when_hot:
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
