"""What the page and scripts ask for: the current state, ten minutes of fire areas, recent fires, health. In memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge import __version__
from edge.config import Config
from edge.messages import END, WHOLE_FRAME, CameraState, FireEvent, FrameResult
from edge.run_status import OPTIONAL_THREADS, QuietStatus, RunStatus

MAX_POINTS = 600  # ten minutes: one per status
NO_POINT = -1.0
MAX_FIRES = 20
STALE_AFTER_S = 10.0  # without a frame or a status, which the loop publishes every second
MISSED_FRAMES = 3  # for cameras and loops slower than that

Point = tuple[float, dict[str, float]]
"""Seconds since the run started, and the largest area fraction of each zone since the point before."""


def stale_after_s(config: Config) -> float:
    """Return the age from which a frame is not current, at the configured rates of the camera and the loop."""
    rates = [rate for rate in (config.source.fps, config.loop.max_fps) if rate]
    return max(STALE_AFTER_S, *(MISSED_FRAMES / rate for rate in rates))


@dataclass
class FireRecord:
    """One fire, from all its events so far. Holds no frames: twenty fires' would fill a small machine's memory."""

    id: str
    zone: str
    time: str
    drill: bool
    active: bool = True
    duration_s: float = 0.0
    peak_share: float = 0.0
    silence: str | None = None  # why its last event was silenced
    pictures: dict[str, bytes] = field(default_factory=dict)  # JPEGs by kind of event; of several peaks the last

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "pictures": list(self.pictures)}


class History:
    """Written by the loop's thread, read by the server's."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._config = config
        self._clock = clock
        self._result: dict[str, Any] | None = None
        self._status: RunStatus | None = None
        self._result_s = self._status_s = 0.0
        self._largest: dict[str, float] = {}
        # Filled from the start, so that memory does not grow for ten minutes: growth is how a leak is recognized.
        names = [zone.name for zone in config.zones] or [WHOLE_FRAME]
        self._points: deque[Point] = deque(
            ((NO_POINT, dict.fromkeys(names, 0.0)) for _ in range(MAX_POINTS)), MAX_POINTS
        )
        self._fires: OrderedDict[str, FireRecord] = OrderedDict()
        self._events_revision = self._config_revision = self._quiet_revision = 0

    def on_result(self, result: FrameResult) -> None:
        as_json = result.as_json()
        with self._lock:
            self._result, self._result_s = as_json, self._clock()
            for zone, share in result.shares.items():
                self._largest[zone] = max(share, self._largest.get(zone, 0.0))

    def on_event(self, event: FireEvent) -> None:
        with self._lock:
            fire = self._fires.setdefault(event.id, FireRecord(event.id, event.zone, event.time, event.drill))
            fire.active = fire.active and event.kind != END
            fire.silence = event.silence
            fire.duration_s = round(event.t_s - event.started_t_s, 1)
            fire.peak_share = max(fire.peak_share, round(event.peak_share, 5))
            if len(self._fires) > MAX_FIRES:
                self._fires.popitem(last=False)
            self._events_revision += 1

    def on_status(self, status: RunStatus) -> None:
        with self._lock:
            before = self._status.quiet if self._status else QuietStatus()
            now = status.quiet
            self._quiet_revision += (before.places, before.suggestions) != (now.places, now.suggestions)
            self._status, self._status_s = status, self._clock()
            shares = {zone: round(share, 5) for zone, share in self._largest.items()}
            self._points.append((round(status.running_s, 1), shares))
            self._largest = {}

    def on_config(self, config: Config) -> None:
        with self._lock:
            self._config = config
            self._config_revision += 1

    def add_snapshot(self, fire_id: str, kind: str, jpeg: bytes) -> None:
        with self._lock:
            if fire := self._fires.get(fire_id):
                fire.pictures[kind] = jpeg
                self._events_revision += 1

    def snapshot(self, fire_id: str, kind: str) -> bytes | None:
        with self._lock:
            fire = self._fires.get(fire_id)
            return fire.pictures.get(kind) if fire else None

    def events(self) -> list[dict[str, Any]]:
        """Return the recent fires, newest first."""
        with self._lock:
            return [fire.as_json() for fire in reversed(self._fires.values())]

    def points(self) -> list[Point]:
        """Return the last ten minutes, oldest first. A zone without a result is missing from its point."""
        with self._lock:
            return [point for point in self._points if point[0] != NO_POINT]

    def areas(self) -> dict[str, Any]:
        """Return the polygons that the page draws over the frame."""
        config = self._config
        return {
            "zones": [{"name": zone.name, "polygon": zone.polygon} for zone in config.zones],
            "ignored": config.ignored,
            "whole_frame": WHOLE_FRAME,
            "revision": config.areas_revision,
        }

    def model(self) -> dict[str, Any]:
        """Return the model that runs, by name and hashes, and the version of this program."""
        status = self._status
        return {
            "model": Path(self._config.model.path).name,
            "model_sha256": status.model_sha256 if status else None,
            "flatbuffer_sha256": (status.flatbuffer_sha256 or None) if status else None,
            "version": __version__,
        }

    def quiet_places(self) -> dict[str, Any]:
        """Return the quiet places and the suggested ignored areas."""
        with self._lock:
            quiet = self._status.quiet if self._status else QuietStatus()
        return asdict(quiet)

    def state(self) -> dict[str, Any]:
        """Return the newest result and status."""
        with self._lock:
            result, status = self._result, self._status
            state: dict[str, Any] = {
                "alarm": bool(result and result["alarm"]),
                "zones": result["zones"] if result else {},
                "picture_current": result["picture_current"] if result else False,
                "camera_problem": result["camera_problem"] if result else None,
                "frame_age_s": round(self._clock() - self._result_s, 1) if result else None,
                "age_ms": result["age_ms"] if result else None,
                "inference_ms": result["inference_ms"] if result else None,
                "events_revision": self._events_revision,
                "config_revision": self._config_revision,
                "quiet_revision": self._quiet_revision,
                "point": self._points[-1] if self._points[-1][0] != NO_POINT else None,
                "stale_after_s": stale_after_s(self._config),
                "has_archive": bool(self._config.clips.folder),
                "version": __version__,
            }
        if status:
            throttling = status.machine.throttling
            state |= {
                "source": status.source,
                "camera_state": status.camera_state.value,
                "camera_problem_for_s": round(status.camera_problem_for_s, 1),
                "camera_connects": status.connects,
                "running_s": round(status.running_s, 1),
                "results": status.results,
                "dropped": status.dropped,
                "fps": round(status.fps, 1),
                "temperature_c": status.machine.temperature_c,
                "throttled": throttling.now if throttling else None,
                "load": status.machine.load,
                **self.model(),
                "receivers": [asdict(receiver) for receiver in status.receivers],
                "failures": asdict(status.failures),
                "infrared": status.infrared,
                "paused": status.paused,
                "fine_view": asdict(status.fine_view) if status.fine_view else None,
                "fallback": status.fallback,
                "update": asdict(status.update) if status.update else None,
                "drill": asdict(status.drill) if status.drill else None,
                "arming": asdict(status.arming),
            }
        return state

    def liveness_problem(self) -> str | None:
        """Return why the loop does not run, for service managers; None while it does."""
        with self._lock:
            if self._status is None:
                return "the loop has not started"
            age_s = self._clock() - self._status_s
        return f"no status from the loop for {age_s:.0f} s" if age_s >= STALE_AFTER_S else None

    def readiness_problem(self) -> str | None:
        """Return why a fire would go undetected or unnoticed now; None while frames arrive.

        A receiver that is down is not a reason: restarting the run does not help it.
        """
        with self._lock:
            if self._status is not None and self._status.camera_state is not CameraState.STREAMING:
                return f"the camera is {self._status.camera_state.value}"
            if self._result is None:
                return "no frame yet"
            age_s, limit_s = self._clock() - self._result_s, stale_after_s(self._config)
            problem = self._result["camera_problem"]
            missing = sorted({*self._status.failures.missing_threads} - OPTIONAL_THREADS) if self._status else []
        if age_s >= limit_s:
            return f"no frame for {age_s:.0f} s"
        if problem:
            return f"the camera cannot see: {problem}"
        if missing:
            return f"threads are missing: {', '.join(missing)}"
        return self.liveness_problem()
