"""The one back-off: how long to wait before trying again."""

from __future__ import annotations

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


def backoff_s(failures: int) -> float:
    """Return the seconds to wait after `failures` in a row: 1 s, doubling, at most a minute."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
