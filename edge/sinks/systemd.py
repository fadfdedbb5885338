"""Tells systemd that the watch runs, how it fares, and that frames still come all the way through.

The run is READY when its loop begins, with the model loaded and before the first frame: a camera that is away at boot
is waited for by the loop, and must not make systemd give up the start. The WATCHDOG, however, is fed by results alone,
and this sink is the last to hear of them: a process whose camera, model or sinks have died looks alive in every other
way. A camera that stays away therefore makes systemd start the run anew once WatchdogSec has gone by, which is why that
must outlast the waits between reconnections.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from edge.messages import FrameResult, RunStatus
from edge.sinks import Sink

SOCKET = "NOTIFY_SOCKET"
FEEDS = 4
"""How often the watchdog is fed within its time."""
QUIET_S = 3.0
"""A last result older than this is news of a camera that is silent, and says nothing of a fire."""


class Systemd(Sink):
    """Speaks sd_notify's protocol: one datagram a message, to the socket that systemd named.

    Args:
        address: the socket's; one that begins with @ is Linux's abstract kind.
        watchdog_s: the time after which systemd acts on silence; None where it does not.
        clock: seconds that never step.
    """

    def __init__(
        self, address: str, *, watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._feed_every_s = None if watchdog_s is None else watchdog_s / FEEDS
        self._clock = clock
        self._fed_s: float | None = None
        self._ready = False
        self._last: FrameResult | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # a full queue must not hold up the loop; what is lost is said again

    def on_result(self, result: FrameResult) -> None:
        self._last = result
        if self._feed_every_s is None:
            return
        now_s = self._clock()
        if self._fed_s is None or now_s - self._fed_s >= self._feed_every_s:
            self._say("WATCHDOG=1")
            self._fed_s = now_s

    def on_status(self, status: RunStatus) -> None:
        first = [] if self._ready else ["READY=1"]
        self._say(*first, f"STATUS={summary(status, self._last)}")
        self._ready = True

    def close(self) -> None:
        with self._socket:
            self._say("STOPPING=1", "STATUS=ending")

    def _say(self, *assignments: str) -> None:
        self._socket.sendto("\n".join(assignments).encode(), self._address)


def from_environment() -> Systemd | None:
    """The sink for the service manager that started this process; None where none did."""
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return None
    watchdog_us, for_pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    meant = for_pid in ("", str(os.getpid())) and watchdog_us.isdigit() and int(watchdog_us) > 0
    return Systemd(address, watchdog_s=int(watchdog_us) / 1e6 if meant else None)


def summary(status: RunStatus, last: FrameResult | None) -> str:
    """One calm line, as `systemctl status` shows it."""
    if last is None or status.last_result_age_s > QUIET_S:
        return f"{status.camera_state}, no frame for {status.last_result_age_s:.0f} s"
    burning = ", ".join(name for name, on in last.alarms.items() if on)
    alarm = f"FIRE in {burning}" if burning else "no fire"
    return f"{alarm}, {status.fps:.1f} frames/s, {last.age_ms:.0f} ms old"
