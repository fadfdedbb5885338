"""Fire events: start, peak and end of an alarm, for messages and clips.

"start" is published at once, "end" when the alarm is cleared. A "peak" follows when the largest fire area has stood for
some seconds, and again after considerable growth. Each fire has at least one peak before its end. "still" is published
when a silence ends and the fire goes on.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edge.detection.camera_events import CameraEventTracker
from edge.errors import UserError, one_line
from edge.messages import END, PEAK, START, STILL, Event, FireEvent, FrameResult, Silence

PEAK_HOLD_S = 3.0  # a largest area is a peak after this long without a larger one
GROWTH = 1.5  # least factor from one published peak to the next
ACKNOWLEDGED_GROWTH = 2.0  # an acknowledged fire that grows by more than this factor is silent no longer
AREA_WINDOW_S = 3.0  # the area of a fire is the largest of this time: flames flicker


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
    silence: Silence | None = None
    """Why it is silenced, as of the last result; None if it is not."""
    acknowledged_share: float | None = None
    """Its area when it was acknowledged; None if it was not acknowledged, or has grown since."""
    recent: deque[tuple[float, float]] = field(default_factory=deque)
    """Source time in seconds and area fraction of the last results."""

    def add(self, result: FrameResult) -> None:
        """Record the area in a result. Growth ends an acknowledgement."""
        share = result.shares[self.zone]
        if share > self.peak_share:
            self.peak = result
        self.recent.append((result.t_s, share))
        while not 0 <= result.t_s - self.recent[0][0] <= AREA_WINDOW_S:
            self.recent.popleft()
        if self.acknowledged_share is not None and share > ACKNOWLEDGED_GROWTH * self.acknowledged_share:
            self.acknowledged_share = None

    def acknowledge(self) -> None:
        self.acknowledged_share = max(share for _, share in self.recent)

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

    def acknowledge(self, zone: str | None = None) -> list[str]:
        """Silence the fire of a zone, or all fires, until they end or grow; return their zones. Raises `UserError`."""
        real = {fire.zone: fire for fire in self._fires.values() if not fire.drill}
        fires = [fire for fire in real.values() if zone in (None, fire.zone)]
        if not fires:
            where = f" in {one_line(zone)}" if zone else ""
            remedy = f"expected one of {', '.join(real)}" if real else "it may have ended"
            raise UserError(f"there is no fire{where} to acknowledge", remedy)
        for fire in fires:
            fire.acknowledge()
        return [fire.zone for fire in fires]

    def silences(self, alarms: Mapping[str, bool], silence: Silence | None) -> dict[str, Silence]:
        """Return why each zone is silent, by its name, for the next result.

        Args:
            silence: why all are silent; None if they are not.
        """
        if silence:
            return dict.fromkeys(alarms, silence)
        fires = (self._fires.get((zone, False)) for zone in alarms)
        return {fire.zone: Silence.ACKNOWLEDGED for fire in fires if fire and fire.acknowledged_share is not None}

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
                fire.silence = None if drill else result.silences.get(zone)
                fire.add(result)
                events.append(self._event(fire, START, result, result.shares[zone]))
            elif fire is not None:
                was_silent, fire.silence = fire.silence, None if drill else result.silences.get(zone)
                if alarm:
                    fire.add(result)
                    if was_silent and not fire.silence:
                        events.append(self._event(fire, STILL, result, result.shares[zone]))
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
            silence=fire.silence,
        )
