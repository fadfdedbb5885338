"""The run's figures for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.capture import State
from edge.events import Event, Result
from edge.machine import THROTTLE_BITS
from edge.sinks import Sink
from edge.status import Status
from edge.version import installed_version

AGES_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
INFERENCES_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class Prometheus(Sink):
    """What is counted is counted as it comes; what stands is read from the last result and status.

    So a zone that is watched no longer is told no longer, but its events stay counted.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._events = Counter(
            "fireseg_events", "News of fires: start, peak, end.", ("zone", "kind"), registry=self.registry
        )
        self._ages = Histogram(
            "fireseg_frame_age_seconds", "From a frame's capture to its result.", buckets=AGES_S, registry=self.registry
        )
        self._inferences = Histogram(
            "fireseg_inference_seconds",
            "What the model took for a frame.",
            buckets=INFERENCES_S,
            registry=self.registry,
        )
        self._standing = Standing()
        self.registry.register(self._standing)

    def on_result(self, result: Result) -> None:
        self._standing.result = result.shares, result.alarms
        self._ages.observe(result.age_ms / 1000)
        self._inferences.observe(result.inference_ms / 1000)

    def on_event(self, event: Event) -> None:
        self._events.labels(event.zone, event.kind).inc()

    def on_status(self, status: Status) -> None:
        self._standing.status = status

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """All figures, and their content type, in the format that the header Accept asks for."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind


class Standing(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self) -> None:
        self.result: tuple[dict[str, float], dict[str, bool]] | None = None
        self.status: Status | None = None

    def collect(self) -> Iterator[Metric]:
        if self.result is not None:
            yield from zone_figures(*self.result)
        if self.status is not None:
            yield from run_figures(self.status)
            yield from machine_figures(self.status)


def zone_figures(shares: dict[str, float], alarms: dict[str, bool]) -> Iterator[Metric]:
    share = GaugeMetricFamily("fireseg_fire_share", "Burning share of each zone, 0 to 1.", labels=("zone",))
    alarm = GaugeMetricFamily("fireseg_alarm", "Whether the zone's alarm is on.", labels=("zone",))
    for zone in shares:
        share.add_metric((zone,), shares[zone])
        alarm.add_metric((zone,), float(alarms[zone]))
    yield share
    yield alarm


def run_figures(status: Status) -> Iterator[Metric]:
    yield CounterMetricFamily("fireseg_results", "Frames that were looked at.", status.results)
    yield CounterMetricFamily("fireseg_frames_dropped", "Frames that were passed over.", status.dropped)
    yield CounterMetricFamily("fireseg_source_openings", "How often the source was opened.", status.openings)
    yield GaugeMetricFamily("fireseg_running_seconds", "Since the loop began.", status.running_s)
    yield GaugeMetricFamily("fireseg_quiet_seconds", "Since the last result, at the last status.", status.quiet_s)
    state = GaugeMetricFamily("fireseg_source_state", "1 for the state that the source is in.", labels=("state",))
    for each in State:
        state.add_metric((each.value,), float(each is status.source_state))
    yield state
    info = {"sha256": status.model_sha256, "version": installed_version()}
    yield InfoMetricFamily("fireseg_model", "The model's hash, and the program's version.", info)


def machine_figures(status: Status) -> Iterator[Metric]:
    """Only what the machine tells of itself: a temperature of 0 would be a lie."""
    machine = status.machine
    if machine.temperature_c is not None:
        yield GaugeMetricFamily("fireseg_temperature_celsius", "Of the processor.", machine.temperature_c)
    if machine.throttling is not None:
        throttled = GaugeMetricFamily(
            "fireseg_throttled", "Whether the firmware holds the machine back, by its reason.", labels=("reason",)
        )
        for reason in THROTTLE_BITS.values():
            throttled.add_metric((reason,), float(reason in machine.throttling.now))
        yield throttled
