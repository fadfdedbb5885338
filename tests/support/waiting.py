"""Wait for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

TIMEOUT_S = 40.0


T = TypeVar("T")


def wait_for(condition: Callable[[], T], limit_s: float = TIMEOUT_S) -> T:
    """Return the first true value of `condition`; fail after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.01)
    return value
