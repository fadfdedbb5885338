"""Notify systemd: READY, STATUS, and a WATCHDOG that only results feed.

READY is sent when the loop starts, with the model loaded and before the first frame: a camera that is unreachable at
boot must not fail the start. The watchdog is fed by results alone, and this sink is called last. A process whose
camera, model or sinks have died looks alive in every other way. If the camera stays away, systemd restarts the run
after WatchdogSec, which must therefore exceed the longest reconnection wait. A thread that stays missing, such as one
that delivers events, is a reason to restart too.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from edge.messages import FrameResult
from edge.run_status import OPTIONAL_THREADS, RunStatus
from edge.sinks import Sink

FEEDS_PER_TIMEOUT = 4
MISSING_LIMIT_S = 120.0  # longer than the longest wait before a worker is called again
STALE_AFTER_S = 3.0  # an older last result means that the camera is silent; it says nothing about fire


class Systemd(Sink):
    """Sends sd_notify datagrams to systemd's socket.

    Args:
        address: of the socket; a leading @ means Linux's abstract namespace.
        watchdog_s: systemd's watchdog timeout; None if there is no watchdog.
        clock: monotonic seconds.
    """

    def __init__(
        self, address: str, *, watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._feed_interval_s = None if watchdog_s is None else watchdog_s / FEEDS_PER_TIMEOUT
        self._clock = clock
        self._fed_s: float | None = None
        self._last: FrameResult | None = None
        self._ready = False
        self._missing_since_s: dict[str, float] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # a full socket must not block the loop; all messages are repeated

    def on_result(self, result: FrameResult) -> None:
        self._last = result
        if self._feed_interval_s is None:
            return
        now_s = self._clock()
        if any(now_s - since_s >= MISSING_LIMIT_S for since_s in self._missing_since_s.values()):
            return
        if self._fed_s is None or now_s - self._fed_s >= self._feed_interval_s:
            self._notify("WATCHDOG=1")
            self._fed_s = now_s

    def on_status(self, status: RunStatus) -> None:
        now_s, missing = self._clock(), {*status.failures.missing_threads} - OPTIONAL_THREADS
        self._missing_since_s = {name: self._missing_since_s.get(name, now_s) for name in missing}
        ready = [] if self._ready else ["READY=1"]
        self._notify(*ready, f"STATUS={summary(status, self._last)}")
        self._ready = True

    def close(self) -> None:
        with self._socket:
            self._notify("STOPPING=1", "STATUS=stopping")

    def _notify(self, *assignments: str) -> None:
        self._socket.sendto("\n".join(assignments).encode(), self._address)


def from_environment() -> Systemd | None:
    """Return the sink for the service manager that started this process, or None."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    watchdog_us, watchdog_pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    enabled = watchdog_pid in ("", str(os.getpid())) and watchdog_us.isdigit() and int(watchdog_us) > 0
    return Systemd(address, watchdog_s=int(watchdog_us) / 1e6 if enabled else None)


def summary(status: RunStatus, last: FrameResult | None) -> str:
    """Return one line for `systemctl status`."""
    text = _camera_summary(status, last)
    if status.failures.missing_threads:
        text += f"; MISSING THREADS {', '.join(status.failures.missing_threads)}"
    return text + ("; FALLBACK to the last configuration and model that worked" if status.fallback else "")


def _camera_summary(status: RunStatus, last: FrameResult | None) -> str:
    if last is None or status.last_result_age_s > STALE_AFTER_S:
        return f"{status.camera_state}, no frame for {status.last_result_age_s:.0f} s"
    zones = ", ".join(zone for zone, alarm in last.alarms.items() if alarm)
    fire = f"FIRE in {zones}" if zones else "no alarm"
    if status.arming.silence:
        fire += f", {status.arming.silence.upper()}"
    if last.camera_problem:
        fire += f", CAMERA CANNOT SEE: {last.camera_problem}"
    return f"{fire}, {status.fps:.1f} frames/s, {last.age_ms:.0f} ms old"
