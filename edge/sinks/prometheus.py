"""The run's figures for Prometheus: counted here as they come, and put into its words by who is asked for them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from edge.messages import FireEvent, FrameResult, RunStatus
from edge.sinks import Sink

if TYPE_CHECKING:  # loading the client would hold up the first frame
    from prometheus_client import CollectorRegistry

AGES_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
INFERENCES_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class Durations:
    """How many took how long. Written by the loop's thread, read by the server's."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """By their upper bounds, each with all that are below it, as Prometheus counts."""
        below, told = 0, []
        names = [*map(str, self._bounds_s), "+Inf"]
        for name, count in zip(names, list(self._counts), strict=True):
            below += count
            told.append((name, float(below)))
        return told


class Prometheus(Sink):
    """Keeps what is counted, and the last of what stands.

    So a zone that is watched no longer is told no longer, but its events stay counted.
    """

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        """By zone and kind."""
        self.ages, self.inferences = Durations(AGES_S), Durations(INFERENCES_S)
        self.zones: dict[str, tuple[float, bool]] = {}
        """The share and the alarm of each."""
        self.status: RunStatus | None = None
        self._registry: CollectorRegistry | None = None

    def on_result(self, result: FrameResult) -> None:
        self.zones = {zone: (share, result.alarms[zone]) for zone, share in result.shares.items()}
        self.ages.observe(result.age_ms / 1000)
        self.inferences.observe(result.inference_ms / 1000)

    def on_event(self, event: FireEvent) -> None:
        self.events[event.zone, event.kind] += 1

    def on_status(self, status: RunStatus) -> None:
        self.status = status

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """All figures, and their content type, in the format that the header Accept asks for."""
        from edge.sinks.exposition import expose, make_registry

        if self._registry is None:
            self._registry = make_registry(self)
        return expose(self._registry, accept)
