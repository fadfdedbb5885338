"""What is told of a fire: that it started, how large it grew, that it ended.

A zone's alarm makes one event of three kinds of news: "start" at once; "peak" when a largest share has stood for some
seconds, and again whenever the fire has grown well beyond what was told, so that who is told of a start learns how it
goes on; "end" when the alarm went off. Between start and end there is always at least one peak.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from edge.messages import END, PEAK, START, FireEvent, FrameResult

SETTLE_S = 3.0
"""A largest share counts as a peak when nothing larger came for so long."""
GROWTH = 1.5
"""A later peak is told when it is so many times as large as the one told before."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Fire:
    """A fire that goes on in one zone."""

    def __init__(self, id_: str, result: FrameResult, zone: str) -> None:
        self.id = id_
        self.started_t_s = result.t_s
        self.peak = result
        self.told = 0
        """How many events it has made."""
        self.told_share = 0.0
        """The largest peak that was told."""
        self.zone = zone

    @property
    def peak_share(self) -> float:
        return self.peak.shares[self.zone]

    def untold_peak(self) -> bool:
        return self.peak_share > self.told_share * (GROWTH if self.told_share else 1)


class EventTracker:
    """Turns results into events, zone by zone.

    Args:
        model_sha256, source: what every event names.
        now: the clock on the wall.
        new_id: an id of its own for a fire in a zone.
    """

    def __init__(
        self,
        model_sha256: str,
        source: str,
        *,
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[datetime, str], str] | None = None,
    ) -> None:
        self.model_sha256 = model_sha256
        self.source = source
        self._now = now
        self._new_id = new_id or fire_id
        self._fires: dict[str, _Fire] = {}

    def news(self, result: FrameResult) -> list[FireEvent]:
        """The events that this result brings. A zone that is watched no longer ends its fire."""
        events: list[FireEvent] = []
        for zone in [*result.alarms, *(name for name in list(self._fires) if name not in result.alarms)]:
            burns = result.alarms.get(zone, False)
            fire = self._fires.get(zone)
            if burns and fire is None:
                fire = self._fires[zone] = _Fire(self._new_id(self._now(), zone), result, zone)
                events.append(self._event(fire, START, result, result.shares[zone]))
            elif fire is not None:
                if burns and result.shares[zone] > fire.peak_share:
                    fire.peak = result
                if fire.untold_peak() and (not burns or result.t_s - fire.peak.t_s >= SETTLE_S):
                    fire.told_share = fire.peak_share
                    events.append(self._event(fire, PEAK, fire.peak, fire.peak_share))
                if not burns:
                    del self._fires[zone]
                    events.append(self._event(fire, END, result, result.shares.get(zone, 0.0)))
        return events

    def _event(self, fire: _Fire, kind: str, of: FrameResult, share: float) -> FireEvent:
        fire.told += 1
        return FireEvent(
            id=fire.id,
            number=fire.told,
            kind=kind,
            zone=fire.zone,
            time=self._now().isoformat(timespec="milliseconds"),
            t_s=of.t_s,
            started_t_s=fire.started_t_s,
            share=share,
            peak_share=fire.peak_share,
            age_ms=of.age_ms,
            model_sha256=self.model_sha256,
            source=self.source,
            rgb=of.rgb,
            mask=of.mask,
        )


def fire_id(now: datetime, zone: str) -> str:
    """Such as 20261122T224100Z-stove-3f9a: sorts by time, and is a file's name anywhere."""
    slug = re.sub(r"[^a-z0-9]+", "-", zone.lower()).strip("-")[:30] or "zone"
    return f"{now:%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"
