"""The run's figures as Prometheus wants them named and written, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge import __version__
from edge.messages import THROTTLE_BITS, CameraState, RunStatus
from edge.sinks.prometheus import Prometheus


def make_registry(metrics: Prometheus) -> CollectorRegistry:
    """With the run's figures, and the process's."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Figures(metrics))
    return registry


def expose(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The text and its content type."""
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class Figures(Collector):
    """Reads the figures at the moment that they are asked for."""

    def __init__(self, metrics: Prometheus) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield from zone_figures(metrics.zones)
        events = CounterMetricFamily("fireseg_events", "News of fires: start, peak, end.", labels=("zone", "kind"))
        for key, count in dict(metrics.events).items():
            events.add_metric(key, count)
        yield events
        for name, words, durations in (
            ("frame_age", "From a frame's capture to its result.", metrics.ages),
            ("inference", "What the model took for a frame.", metrics.inferences),
        ):
            yield HistogramMetricFamily(f"fireseg_{name}_seconds", words, durations.buckets(), durations.sum_s)
        if metrics.status is not None:
            yield from run_figures(metrics.status)
            yield from machine_figures(metrics.status)


def zone_figures(zones: dict[str, tuple[float, bool]]) -> Iterator[Metric]:
    shares = GaugeMetricFamily("fireseg_fire_share", "Burning share of each zone, 0 to 1.", labels=("zone",))
    alarms = GaugeMetricFamily("fireseg_alarm", "Whether the zone's alarm is on.", labels=("zone",))
    for zone, (share, alarm) in zones.items():
        shares.add_metric((zone,), share)
        alarms.add_metric((zone,), float(alarm))
    yield shares
    yield alarms


def run_figures(status: RunStatus) -> Iterator[Metric]:
    yield CounterMetricFamily("fireseg_results", "Frames that were looked at.", status.results)
    yield CounterMetricFamily("fireseg_frames_dropped", "Frames that were passed over.", status.dropped)
    yield CounterMetricFamily("fireseg_source_openings", "How often the source was opened.", status.connects)
    yield GaugeMetricFamily("fireseg_running_seconds", "Since the loop began.", status.running_s)
    yield GaugeMetricFamily(
        "fireseg_quiet_seconds", "Since the last result, at the last status.", status.last_result_age_s
    )
    state = GaugeMetricFamily("fireseg_source_state", "1 for the state that the source is in.", labels=("state",))
    for each in CameraState:
        state.add_metric((each.value,), float(each is status.camera_state))
    yield state
    info = {"sha256": status.model_sha256, "version": __version__}
    yield InfoMetricFamily("fireseg_model", "The model's hash, and the program's version.", info)


def machine_figures(status: RunStatus) -> Iterator[Metric]:
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
