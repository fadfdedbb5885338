"""Metrics of the run and its process for Prometheus, served by the live page at /metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from edge.messages import PROBLEM, THROTTLE_BITS, CameraEvent, CameraProblem, CameraState, FireEvent, FrameResult
from edge.run_status import DrillStatus, FailureCounts, ReceiverStatus, RunStatus, UpdateStatus
from edge.sinks import Sink

FRAME_AGE_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
INFERENCE_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class Prometheus(Sink, Collector):
    """Keeps the metrics in a registry of this sink; `scrape` may be called from any thread.

    Gauges of zones that are no longer configured disappear; their event counters stay.
    """

    def __init__(self, version: str = "") -> None:
        self._version = version
        self._shares: dict[str, float] = {}
        self._alarms: dict[str, bool] = {}
        self._status: RunStatus | None = None
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        counter, histogram = partial(Counter, registry=self._registry), partial(Histogram, registry=self._registry)
        self._events = counter("fireseg_events", "Fire events: start, peak, still, end.", ["zone", "kind"])
        self._problems = counter("fireseg_camera_problems", "Times that the camera could not see.", ["kind"])
        for kind in CameraProblem:
            self._problems.labels(kind.value)  # so that the first one is an increase
        self._frame_age = histogram(
            "fireseg_frame_age_seconds", "From a frame's capture to its result.", buckets=FRAME_AGE_BUCKETS_S
        )
        self._inference = histogram(
            "fireseg_inference_seconds", "Inference time per frame.", buckets=INFERENCE_BUCKETS_S
        )

    def on_result(self, result: FrameResult) -> None:
        self._shares, self._alarms = result.shares, result.alarms
        self._frame_age.observe(result.age_ms / 1000)
        self._inference.observe(result.inference_ms / 1000)

    def on_event(self, event: FireEvent) -> None:
        if not event.drill:
            self._events.labels(event.zone, event.kind).inc()

    def on_camera_event(self, event: CameraEvent) -> None:
        if event.kind == PROBLEM:
            self._problems.labels(event.problem.value).inc()

    def on_status(self, status: RunStatus) -> None:
        self._status = status

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type, in the format that an Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last result and status. Unknown values are left out: zero would be wrong."""
        yield _gauges("fireseg_fire_area_ratio", "Share of the zone that is fire, 0 to 1.", "zone", self._shares)
        yield _gauges("fireseg_alarm", "1 while the zone's alarm is raised, else 0.", "zone", self._alarms)
        if (status := self._status) is None:
            return
        yield CounterMetricFamily("fireseg_results", "Frames processed.", status.results)
        yield CounterMetricFamily("fireseg_frames_dropped", "Frames skipped for newer ones.", status.dropped)
        yield CounterMetricFamily("fireseg_camera_connects", "Connections to the camera.", status.connects)
        yield GaugeMetricFamily("fireseg_uptime_seconds", "Seconds since the run started.", status.running_s)
        yield GaugeMetricFamily("fireseg_last_result_age_seconds", "Since the last result.", status.last_result_age_s)
        states = {state.value: state is status.camera_state for state in CameraState}
        yield _gauges("fireseg_camera_state", "1 for the camera's current state, else 0.", "state", states)
        problems = {kind.value: kind is status.camera_problem for kind in CameraProblem}
        yield _gauges("fireseg_camera_problem", "1 while the camera cannot see, by kind.", "kind", problems)
        yield GaugeMetricFamily("fireseg_infrared", "1 while frames have no colour.", float(status.infrared))
        yield GaugeMetricFamily("fireseg_paused", "1 while nothing is detected, as configured.", float(status.paused))
        arming = status.arming
        yield GaugeMetricFamily("fireseg_armed", "1 unless disarmed by people or the schedule.", float(arming.armed))
        snoozed = float(bool(arming.snoozed_until))
        yield GaugeMetricFamily("fireseg_snoozed", "1 while the alarm is snoozed.", snoozed)
        model = {"sha256": status.model_sha256, "version": self._version}
        yield InfoMetricFamily("fireseg_model", "Hash of the model and version of the program.", model)
        fallback = 1.0 if status.fallback else 0.0
        yield GaugeMetricFamily("fireseg_fallback", "1 while the last good configuration and model run.", fallback)
        if (fine := status.fine_view) is not None:
            yield GaugeMetricFamily("fireseg_fine_view_zoom", "Tiles in a row and in a column of the frame.", fine.zoom)
            period = "Time in which every tile of the frame is seen."
            yield GaugeMetricFamily("fireseg_fine_view_period_seconds", period, fine.period_s)
        places = len(status.quiet.places)
        yield GaugeMetricFamily("fireseg_quiet_places", "Places where a region raises no alarm.", places)
        quiet = "Time in which a quiet place kept an alarm from being raised."
        yield CounterMetricFamily("fireseg_quiet_seconds", quiet, status.quiet.quiet_s)
        yield from _drill(status.drill)
        yield from _update(status.update)
        yield from _failures(status.failures)
        yield from _receivers(status.receivers)
        host = status.machine
        if host.temperature_c is not None:
            yield GaugeMetricFamily("fireseg_temperature_celsius", "Processor temperature.", host.temperature_c)
        if host.throttling is not None:
            reasons = {reason: reason in host.throttling.now for reason in THROTTLE_BITS.values()}
            yield _gauges("fireseg_throttled", "1 while the firmware throttles, by reason.", "reason", reasons)


def _drill(drill: DrillStatus | None) -> Iterator[Metric]:
    if drill and drill.passed is not None:
        yield GaugeMetricFamily("fireseg_drill_passed", "1 if the last fire drill was passed.", float(drill.passed))
    if drill and drill.last_passed:
        passed_s = datetime.fromisoformat(drill.last_passed).timestamp()
        help_text = "When the last fire drill was passed."
        yield GaugeMetricFamily("fireseg_drill_last_passed_timestamp_seconds", help_text, passed_s)


def _update(update: UpdateStatus | None) -> Iterator[Metric]:
    if update:
        help_text = "1 if the last model update failed or was rolled back."
        yield GaugeMetricFamily("fireseg_update_failed", help_text, float(bool(update.problem)))
        yield GaugeMetricFamily("fireseg_update_trial", "1 while a new model is tried.", float(update.trial))
    if update and update.checked:
        checked_s = datetime.fromisoformat(update.checked).timestamp()
        help_text = "When the repository of models was last asked with success."
        yield GaugeMetricFamily("fireseg_update_last_check_timestamp_seconds", help_text, checked_s)


def _failures(failures: FailureCounts) -> Iterator[Metric]:
    yield CounterMetricFamily("fireseg_failed_reloads", "Configurations or models rejected.", failures.reloads)
    yield CounterMetricFamily("fireseg_thread_restarts", "Restarts of threads that failed.", failures.thread_restarts)
    missing = len(failures.missing_threads)
    yield GaugeMetricFamily("fireseg_threads_missing", "Threads that should run and do not.", missing)
    yield CounterMetricFamily(
        "fireseg_lost_files", "Images, clips, recordings, saved states and plots not written.", failures.lost_files
    )
    late = failures.late_writes
    yield CounterMetricFamily("fireseg_late_writes", "Events published before they were on disk.", late)
    yield CounterMetricFamily("fireseg_broken_frames", "Frames that were not decodable.", failures.broken_frames)


def _receivers(receivers: Sequence[ReceiverStatus]) -> Iterator[Metric]:
    """Yield how delivery to each receiver of events goes."""
    for name, help_text, key in (
        ("fireseg_events_made", "Events handed over for delivery.", "made"),
        ("fireseg_events_delivered", "Events accepted by the receiver.", "delivered"),
        ("fireseg_events_dropped", "Events lost, since too many waited.", "dropped"),
        ("fireseg_events_dead_letters", "Events set aside: rejected, or failing repeatedly.", "dead_letters"),
        ("fireseg_events_retries", "Deliveries that failed and were tried again.", "retries"),
    ):
        family = CounterMetricFamily(name, help_text, labels=["receiver"])
        for receiver in receivers:
            family.add_metric([receiver.name], getattr(receiver, key))
        yield family
    waiting = {receiver.name: receiver.waiting for receiver in receivers}
    yield _gauges("fireseg_events_waiting", "Events to be delivered.", "receiver", waiting)
    ages_s = {receiver.name: receiver.oldest_age_s for receiver in receivers}
    yield _gauges("fireseg_events_oldest_age_seconds", "Age of the oldest waiting event.", "receiver", ages_s)
    reachable = {receiver.name: not receiver.problem for receiver in receivers}
    yield _gauges("fireseg_receiver_up", "1 unless events do not arrive at the moment.", "receiver", reachable)


def _gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return one gauge per value of the label."""
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
