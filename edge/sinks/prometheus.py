"""Metrics of the run and its process for Prometheus, served by the live page at /metrics."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from edge.messages import THROTTLE_BITS, CameraState, FireEvent, FrameResult, RunStatus
from edge.sinks import Sink

FRAME_AGE_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
INFERENCE_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class Prometheus(Sink):
    """Keeps the metrics in a registry of this sink; `scrape` may be called from any thread.

    Gauges of zones that are no longer configured disappear; their event counters stay.

    Args:
        version: of this program, as a label of `fireseg_model_info`.

    Example:
        >>> metrics = Prometheus("0.1.0")
        >>> metrics.on_result(result)
        >>> body, content_type = metrics.scrape()
    """

    def __init__(self, version: str = "") -> None:
        self._version = version
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter, gauge = partial(Counter, registry=self._registry), partial(Gauge, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self._fire_area = gauge("fireseg_fire_area_ratio", "Share of the zone that is fire, 0 to 1.", ["zone"])
        self._alarm = gauge("fireseg_alarm", "1 while the zone's alarm is raised, else 0.", ["zone"])
        self._events = counter("fireseg_events", "Fire events: start, peak, end.", ["zone", "kind"])
        self._frame_age = histogram(
            "fireseg_frame_age_seconds", "From a frame's capture to its result.", buckets=FRAME_AGE_BUCKETS_S
        )
        self._inference = histogram(
            "fireseg_inference_seconds", "Inference time per frame.", buckets=INFERENCE_BUCKETS_S
        )
        self._results = counter("fireseg_results", "Frames processed.")
        self._dropped = counter("fireseg_frames_dropped", "Frames skipped for newer ones.")
        self._connects = counter("fireseg_camera_connects", "Connections to the camera.")
        self._uptime = gauge("fireseg_uptime_seconds", "Since the run started.")
        self._result_age = gauge("fireseg_last_result_age_seconds", "Since the last result.")
        self._camera_state = gauge("fireseg_camera_state", "1 for the camera's current state, else 0.", ["state"])
        self._throttled = gauge("fireseg_throttled", "1 while the firmware throttles, by reason.", ["reason"])
        # Registered while they have a value: a temperature of 0 would be wrong.
        self._temperature = Gauge("fireseg_temperature_celsius", "Processor temperature.", registry=None)
        self._model = Info("fireseg_model", "Hash of the model and version of the program.", registry=None)
        self._optional: set[Collector] = set()
        self._zones: set[str] = set()
        self._status: RunStatus | None = None

    def on_result(self, result: FrameResult) -> None:
        for zone in self._zones - result.shares.keys():
            self._fire_area.remove(zone)
            self._alarm.remove(zone)
        self._zones = set(result.shares)
        for zone, share in result.shares.items():
            self._fire_area.labels(zone).set(share)
            self._alarm.labels(zone).set(result.alarms[zone])
        self._frame_age.observe(result.age_ms / 1000)
        self._inference.observe(result.inference_ms / 1000)

    def on_event(self, event: FireEvent) -> None:
        self._events.labels(event.zone, event.kind).inc()

    def on_status(self, status: RunStatus) -> None:
        before, self._status = self._status, status
        self._results.inc(status.results - (before.results if before else 0))
        self._dropped.inc(status.dropped - (before.dropped if before else 0))
        self._connects.inc(status.connects - (before.connects if before else 0))
        self._uptime.set(status.running_s)
        self._result_age.set(status.last_result_age_s)
        for state in CameraState:
            self._camera_state.labels(state.value).set(state is status.camera_state)
        self._model.info({"sha256": status.model_sha256, "version": self._version})
        self._register(self._model, True)
        host = status.machine
        if host.temperature_c is not None:
            self._temperature.set(host.temperature_c)
        self._register(self._temperature, host.temperature_c is not None)
        if host.throttling is None:
            self._throttled.clear()
        else:
            for reason in THROTTLE_BITS.values():
                self._throttled.labels(reason).set(reason in host.throttling.now)

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type, in the format that an Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _register(self, metric: Collector, known: bool) -> None:
        """Show a metric only while its value is known."""
        if known and metric not in self._optional:
            self._optional.add(metric)
            self._registry.register(metric)
        elif not known and metric in self._optional:
            self._optional.remove(metric)
            self._registry.unregister(metric)
