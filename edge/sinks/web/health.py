"""Whether the run lives, and whether it sees: for service managers, containers and load balancers."""

from __future__ import annotations

from edge.messages import CameraState
from edge.sinks.web.history import History

ALIVE_S = 10.0
"""The loop tells its status every second: after so long without one, it hangs."""
READY_S = 10.0


def why_dead(history: History) -> str | None:
    """Why the loop does not go on; None where it does."""
    _, status_s, _ = history.ages_s()
    if status_s is None:
        return "the loop has not begun"
    return f"the loop has told nothing for {status_s:.0f} s" if status_s >= ALIVE_S else None


def why_blind(history: History, interval_s: float) -> str | None:
    """Why no fire would be seen now; None where one would. Results come every `interval_s` at most."""
    result_s, _, status = history.ages_s()
    if status is not None and status.camera_state is not CameraState.STREAMING:
        return f"the source is {status.camera_state.value}"
    if result_s is None:
        return "no frame has come yet"
    if result_s >= max(READY_S, 3 * interval_s):
        return f"no frame has come for {result_s:.0f} s"
    return why_dead(history)
