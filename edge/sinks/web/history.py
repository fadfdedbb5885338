"""What was seen so far, kept small and in memory, as the page and scripts ask for it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.messages import END, FireEvent, FrameResult, RunStatus

POINTS = 600
"""Burning areas are kept for the last ten minutes, a point for each status."""
FIRES = 20

Point = tuple[float, dict[str, float]]


@dataclass
class Fire:
    """The events of one fire, by kind; of several peaks the last, which is the largest."""

    told: dict[str, FireEvent] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        first, last = next(iter(self.told.values())), list(self.told.values())[-1]
        return {
            "id": first.id,
            "zone": first.zone,
            "time": first.time,
            "burns": END not in self.told,
            "duration_s": round(last.t_s - last.started_t_s, 1),
            "peak_share": round(max(event.peak_share for event in self.told.values()), 5),
            "pictures": list(self.pictures),
        }


class Points:
    """Times and each zone's largest share since the point before, in memory that is taken once."""

    def __init__(self) -> None:
        self._count = 0
        self._times_s = np.zeros(POINTS)
        self._shares: dict[str, npt.NDArray[np.float64]] = {}
        """nan where a zone was not watched."""

    def add(self, time_s: float, shares: Mapping[str, float]) -> None:
        place = self._count % POINTS
        self._count += 1
        self._times_s[place] = time_s
        for zone in shares.keys() - self._shares.keys():
            self._shares[zone] = np.full(POINTS, np.nan)
        for zone, kept in list(self._shares.items()):
            kept[place] = shares.get(zone, np.nan)
            if zone not in shares and np.isnan(kept).all():  # watched no longer, for as long as we look back
                del self._shares[zone]

    def all(self) -> list[Point]:
        """The oldest first."""
        return [self._at(number % POINTS) for number in range(max(0, self._count - POINTS), self._count)]

    def last(self) -> Point | None:
        return self._at((self._count - 1) % POINTS) if self._count else None

    def _at(self, place: int) -> Point:
        shares = {
            zone: round(float(kept[place]), 5) for zone, kept in self._shares.items() if not np.isnan(kept[place])
        }
        return round(float(self._times_s[place]), 1), shares


class History:
    """Written by the loop's thread, read by the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: dict[str, Any] | None = None
        self._result_s = self._status_s = 0.0
        self._status: RunStatus | None = None
        self._largest: dict[str, float] = {}
        self._points = Points()
        self._fires: OrderedDict[str, Fire] = OrderedDict()
        self._news = 0
        self._configs = 0

    def on_result(self, result: FrameResult) -> None:
        told = result.as_json()
        with self._lock:
            self._result, self._result_s = told, time.monotonic()
            for zone, share in result.shares.items():
                self._largest[zone] = max(share, self._largest.get(zone, 0.0))

    def on_event(self, event: FireEvent) -> None:
        with self._lock:
            fire = self._fires.setdefault(event.id, Fire())
            fire.told.pop(event.kind, None)
            fire.told[event.kind] = without_frame(event)
            while len(self._fires) > FIRES:
                self._fires.popitem(last=False)
            self._news += 1

    def on_status(self, status: RunStatus) -> None:
        with self._lock:
            self._status, self._status_s = status, time.monotonic()
            self._points.add(status.running_s, self._largest)
            self._largest = {}

    def on_config(self) -> None:
        with self._lock:
            self._configs += 1

    def keep_picture(self, id_: str, kind: str, jpeg: bytes) -> None:
        with self._lock:
            if fire := self._fires.get(id_):
                fire.pictures[kind] = jpeg
                self._news += 1

    def picture(self, id_: str, kind: str) -> bytes | None:
        with self._lock:
            fire = self._fires.get(id_)
            return fire.pictures.get(kind) if fire else None

    def events(self) -> list[dict[str, Any]]:
        """The last fires, the newest first."""
        with self._lock:
            return [fire.as_json() for fire in reversed(self._fires.values())]

    def points(self) -> list[tuple[float, dict[str, float]]]:
        """By the run's seconds, the largest share of each zone since the point before."""
        with self._lock:
            return self._points.all()

    def state(self) -> dict[str, Any]:
        """How it stands at this moment."""
        with self._lock:
            result, status, now_s = self._result, self._status, time.monotonic()
            state: dict[str, Any] = {
                "alarm": bool(result and result["alarm"]),
                "zones": result["zones"] if result else {},
                "picture_s": round(now_s - self._result_s, 1) if result else None,
                "age_ms": result["age_ms"] if result else None,
                "inference_ms": result["inference_ms"] if result else None,
                "news": self._news,
                "configs": self._configs,
                "point": self._points.last(),
            }
        if status:
            throttling = status.machine.throttling
            state |= {
                "source": status.source,
                "source_state": status.camera_state.value,
                "openings": status.connects,
                "running_s": round(status.running_s, 1),
                "results": status.results,
                "dropped": status.dropped,
                "fps": round(status.fps, 1),
                "temperature_c": status.machine.temperature_c,
                "throttled": throttling.now if throttling else None,
                "load": status.machine.load,
                "model_sha256": status.model_sha256,
            }
        return state

    def ages_s(self) -> tuple[float | None, float | None, RunStatus | None]:
        """How long ago the last result and the last status came, and that status."""
        with self._lock:
            now_s = time.monotonic()
            result_s = None if self._result is None else now_s - self._result_s
            return result_s, None if self._status is None else now_s - self._status_s, self._status


def without_frame(event: FireEvent) -> FireEvent:
    """The same with pictures of no size: full frames of twenty fires would fill a small machine's memory."""
    return replace(event, rgb=event.rgb[:0].copy(), mask=event.mask[:0].copy())
