"""How many results a second: at most so many, and fewer while the machine is too hot.

A Pi that throttles does so in jumps and drops frames as it likes; halving the rate ourselves keeps the age of the
frames short. The rate comes back step by step once the machine is clearly cooler.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge.host.machine import HOT_C, HostStatus, read_state

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
COOL_C = HOT_C - 5
SLOWEST_S = 1.0
"""An alarm that takes several results must still come in seconds."""


class Throttle:
    """When the next frame may be taken.

    Args:
        max_fps: 0 for no bound.
        spare_heat: whether to slow down while the machine is hot or throttled.
    """

    def __init__(
        self,
        max_fps: float,
        *,
        slow_when_hot: bool,
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[], HostStatus] = read_state,
    ) -> None:
        self.max_fps = max_fps
        self.slow_when_hot = slow_when_hot
        self._clock = clock
        self._look = look
        self._halvings = 0
        self._looked_s = clock()
        self.machine = look()
        """How the machine fared when it was last looked at."""
        self._took_s = clock() - SLOWEST_S
        self._busy_s = 0.0

    def wait_s(self) -> float:
        """How long to wait before taking the next frame."""
        return max(0.0, self._took_s + self.interval_s() - self._clock())

    def interval_s(self) -> float:
        """From one frame to the next, at least."""
        interval_s = 1 / self.max_fps if self.max_fps else 0.0
        if self._halvings:
            # Where the machine is slower than the bound, or there is none, its own time is what is doubled.
            interval_s = max(interval_s, min(max(interval_s, self._busy_s) * 2**self._halvings, SLOWEST_S))
        return interval_s

    def took(self) -> None:
        """A frame was taken."""
        self._took_s = self._clock()

    def done(self) -> None:
        """Its result is out."""
        self._busy_s = self._clock() - self._took_s

    def look_after(self) -> None:
        """Look at the machine now and then, and heed what it says."""
        now_s = self._clock()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s, self.machine = now_s, self._look()
            if self.slow_when_hot:
                self._heed(self.machine)

    def _heed(self, state: HostStatus) -> None:
        held = state.throttling.now if state.throttling else []
        hot = state.temperature_c is not None and state.temperature_c >= HOT_C
        cool = state.temperature_c is None or state.temperature_c < COOL_C
        if held or hot:
            why = ", ".join([*held, *([f"{state.temperature_c:.0f} °C"] if hot else [])])
            if self.interval_s() < SLOWEST_S or not self._halvings:
                self._halvings += 1
                log.warning("the machine is held back (%s): a result every %.2f s at most", why, self.interval_s())
        elif cool and self._halvings:
            self._halvings -= 1
            log.info("the machine has recovered: a result every %.2f s at most", self.interval_s())
