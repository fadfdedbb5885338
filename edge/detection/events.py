"""Fire events: start, peak and end of an alarm, for messages and clips.

"start" is published at once, "end" when the alarm is cleared. A "peak" follows when the largest fire area has stood for
some seconds, and again after considerable growth. Each fire has at least one peak before its end.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edge.detection.camera_events import CameraEventTracker
from edge.messages import END, PEAK, START, Event, FireEvent, FrameResult

PEAK_HOLD_S = 3.0  # a largest area is a peak after this long without a larger one
GROWTH = 1.5  # least factor from one published peak to the next


def fire_id(now: datetime, zone: str) -> str:
    """Return an id such as 20261122T224100Z-stove-3f9a: sorts by time, valid as a file name."""
    slug = re.sub(r"[^a-z0-9]+", "-", zone.lower()).strip("-")[:30] or "zone"
    return f"{now:%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"


@dataclass
class ActiveFire:
    """A fire in progress in one zone."""

    id: str
    zone: str
    started_t_s: float
    drill: bool
    """Whether it is the flame that a fire drill paints."""
    peak: FrameResult
    """The result with the largest fire area."""
    events: int = 0
    """Events published so far."""
    published_share: float = 0.0
    """The largest published peak."""

    @property
    def peak_share(self) -> float:
        return self.peak.shares[self.zone]


@dataclass(eq=False)
class EventTracker:
    """Turns results into events, for each zone."""

    model_sha256: str
    source: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[datetime, str], str] = fire_id
    """Makes a fire's id from time and zone."""
    _fires: dict[tuple[str, bool], ActiveFire] = field(default_factory=dict, init=False)
    """By zone, and whether it is a drill: a fire during a drill is a fire."""

    def __post_init__(self) -> None:
        self._camera = CameraEventTracker(self.now, self.new_id)

    def update(self, result: FrameResult) -> list[Event]:
        """Return the events of a result, those of the camera last. The fire of a removed zone ends."""
        events: list[Event] = []
        alarms = {(zone, False): alarm for zone, alarm in result.alarms.items()}
        alarms |= {(zone, True): alarm for zone, alarm in result.drill_alarms.items()}
        for key in dict.fromkeys([*alarms, *self._fires]):
            zone, drill = key
            alarm = alarms.get(key, False)
            fire = self._fires.get(key)
            if alarm and fire is None:
                fire = self._fires[key] = ActiveFire(self.new_id(self.now(), zone), zone, result.t_s, drill, result)
                events.append(self._event(fire, START, result, result.shares[zone]))
            elif fire is not None:
                if alarm and result.shares[zone] > fire.peak_share:
                    fire.peak = result
                has_grown = fire.peak_share > GROWTH * fire.published_share
                if has_grown and (not alarm or result.t_s - fire.peak.t_s >= PEAK_HOLD_S):
                    fire.published_share = fire.peak_share
                    events.append(self._event(fire, PEAK, fire.peak, fire.peak_share))
                if not alarm:
                    del self._fires[key]
                    events.append(self._event(fire, END, result, result.shares.get(zone, 0.0)))
        return events + self._camera.update(result, model_sha256=self.model_sha256, source=self.source)

    def _event(self, fire: ActiveFire, kind: str, result: FrameResult, share: float) -> FireEvent:
        fire.events += 1
        return FireEvent(
            id=fire.id,
            number=fire.events,
            kind=kind,
            zone=fire.zone,
            time=self.now().isoformat(timespec="milliseconds"),
            t_s=result.t_s,
            started_t_s=fire.started_t_s,
            share=share,
            peak_share=fire.peak_share,
            age_ms=result.age_ms,
            model_sha256=self.model_sha256,
            source=self.source,
            rgb=result.rgb,
            mask=result.mask,
            camera_problem=result.camera_problem,
            paused=result.paused,
            drill=fire.drill,
        )
