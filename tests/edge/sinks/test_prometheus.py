"""The metrics of a run, and that Prometheus can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from edge.host.machine import Throttling
from edge.messages import END, PROBLEM, RECOVERED, START, CameraProblem, CameraState, FineView
from edge.run_status import DrillStatus, FailureCounts, HostStatus, ReceiverStatus, UpdateStatus
from edge.sinks.prometheus import Prometheus
from tests.support.factories import MODEL_HASH, camera_event, event, result, run_status

THROTTLED = HostStatus(governor="ondemand", temperature_c=61.5, throttling=Throttling(0b0101), load=1.5)
BARE = HostStatus(governor=None, temperature_c=None, throttling=None, load=None)


def samples(metrics: Prometheus) -> dict[str, float]:
    """Values by name and labels."""
    values: dict[str, float] = {}
    for family in parse(metrics.scrape()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


def metrics_of_a_fire() -> Prometheus:
    metrics = Prometheus("1.2")
    metrics.on_result(result(1.0, 0.25, on=True, zone="stove"))
    metrics.on_event(event(START))
    metrics.on_status(run_status(results=40, dropped=2))
    metrics.on_status(run_status(machine=THROTTLED))
    return metrics


def test_a_run_has_its_metrics() -> None:
    values = samples(metrics_of_a_fire())
    expected = {
        "fireseg_fire_area_ratio{zone=stove}": 0.25,
        "fireseg_alarm{zone=stove}": 1,
        "fireseg_results_total": 100,
        "fireseg_frames_dropped_total": 7,
        "fireseg_camera_connects_total": 1,
        "fireseg_uptime_seconds": 12.3,
        "fireseg_last_result_age_seconds": 0.1,
        "fireseg_events_total{kind=start,zone=frame}": 1,
        "fireseg_frame_age_seconds_count": 1,
        "fireseg_frame_age_seconds_sum": 0.01234,
        "fireseg_frame_age_seconds_bucket{le=0.02}": 1,
        "fireseg_inference_seconds_sum": 0.00567,
        "fireseg_inference_seconds_bucket{le=0.005}": 0,
        "fireseg_inference_seconds_bucket{le=0.01}": 1,
        "fireseg_temperature_celsius": 61.5,
        "fireseg_throttled{reason=under-voltage}": 1,
        "fireseg_throttled{reason=frequency capped}": 0,
        "fireseg_throttled{reason=throttled}": 1,
        f"fireseg_model_info{{sha256={MODEL_HASH},version=1.2}}": 1,
    }
    assert {name: values.get(name) for name in expected} == pytest.approx(expected)
    assert values["process_resident_memory_bytes"] > 1e6


MQTT = ReceiverStatus(
    "mqtt",
    "connection refused",
    made=9,
    delivered=5,
    dropped=1,
    dead_letters=2,
    retries=7,
    waiting=3,
    oldest_age_s=61.5,
)
WEBHOOK = ReceiverStatus(
    "webhook", "", made=9, delivered=9, dropped=0, dead_letters=0, retries=0, waiting=0, oldest_age_s=0
)


def test_what_failed_is_counted_by_receiver() -> None:
    failures = FailureCounts(
        reloads=1, thread_restarts=2, missing_threads=("capture",), lost_files=4, broken_frames=5, late_writes=6
    )
    metrics = metrics_of_a_fire()
    metrics.on_status(run_status(receivers=(MQTT, WEBHOOK), failures=failures, fallback="the model is damaged"))
    expected = {
        "fireseg_events_made_total{receiver=mqtt}": 9,
        "fireseg_events_delivered_total{receiver=mqtt}": 5,
        "fireseg_events_delivered_total{receiver=webhook}": 9,
        "fireseg_events_dropped_total{receiver=mqtt}": 1,
        "fireseg_events_dead_letters_total{receiver=mqtt}": 2,
        "fireseg_events_retries_total{receiver=mqtt}": 7,
        "fireseg_events_waiting{receiver=mqtt}": 3,
        "fireseg_events_oldest_age_seconds{receiver=mqtt}": 61.5,
        "fireseg_receiver_up{receiver=mqtt}": 0,
        "fireseg_receiver_up{receiver=webhook}": 1,
        "fireseg_failed_reloads_total": 1,
        "fireseg_thread_restarts_total": 2,
        "fireseg_threads_missing": 1,
        "fireseg_lost_files_total": 4,
        "fireseg_broken_frames_total": 5,
        "fireseg_late_writes_total": 6,
        "fireseg_fallback": 1,
    }
    values = samples(metrics)
    assert {name: values.get(name) for name in expected} == expected
    metrics.on_status(run_status())
    assert samples(metrics)["fireseg_fallback"] == 0


def test_the_fine_view_is_left_out_while_only_the_whole_frame_is_seen() -> None:
    metrics = metrics_of_a_fire()
    metrics.on_status(run_status(fine_view=FineView(3, 0.5)))
    values = samples(metrics)
    assert (values["fireseg_fine_view_zoom"], values["fireseg_fine_view_period_seconds"]) == (3, 0.5)
    metrics.on_status(run_status())
    assert not [name for name in samples(metrics) if "fine_view" in name]


def test_the_camera_is_in_one_state_at_a_time() -> None:
    metrics = Prometheus()
    for current in CameraState:
        metrics.on_status(run_status(camera_state=current))
        values = samples(metrics)
        states = {state: values[f"fireseg_camera_state{{state={state.value}}}"] for state in CameraState}
        assert states == {state: float(state is current) for state in CameraState}


def test_a_zone_that_is_gone_disappears_and_its_events_stay_counted() -> None:
    metrics = metrics_of_a_fire()
    metrics.on_result(result(2.0, 0.1, on=False, zone="door"))
    metrics.on_event(event(END))
    values = samples(metrics)
    assert [name for name in values if "zone=stove" in name] == []
    assert values["fireseg_fire_area_ratio{zone=door}"] == 0.1
    assert values["fireseg_alarm{zone=door}"] == 0
    assert values["fireseg_events_total{kind=start,zone=frame}"] == 1
    assert values["fireseg_events_total{kind=end,zone=frame}"] == 1


def test_unknown_values_of_the_machine_are_left_out() -> None:
    metrics = metrics_of_a_fire()
    metrics.on_status(run_status(machine=BARE))
    assert not re.search(rb"^fireseg_(throttled\{|temperature)", metrics.scrape()[0], re.MULTILINE)
    metrics.on_status(run_status(machine=THROTTLED))
    assert samples(metrics)["fireseg_temperature_celsius"] == 61.5


def test_promtool_accepts_the_metrics() -> None:
    if not (promtool := shutil.which("promtool")):
        pytest.skip("install prometheus to run this test: promtool is missing")
    done = subprocess.run([promtool, "check", "metrics"], input=metrics_of_a_fire().scrape()[0], capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_a_camera_that_cannot_see_is_a_gauge_and_counted_once() -> None:
    metrics = Prometheus()
    metrics.on_status(run_status(camera_problem=CameraProblem.OUT_OF_FOCUS))
    metrics.on_camera_event(camera_event(PROBLEM, CameraProblem.OUT_OF_FOCUS))
    metrics.on_camera_event(camera_event(RECOVERED, CameraProblem.OUT_OF_FOCUS))
    text = metrics.scrape()[0].decode()
    assert 'fireseg_camera_problem{kind="out of focus"} 1.0' in text
    assert 'fireseg_camera_problem{kind="frozen"} 0.0' in text
    assert 'fireseg_camera_problems_total{kind="out of focus"} 1.0' in text
    assert 'fireseg_camera_problems_total{kind="frozen"} 0.0' in text


def test_a_drill_is_a_metric_and_counts_as_no_fire() -> None:
    metrics = Prometheus()
    metrics.on_event(replace(event(START), drill=True))
    metrics.on_status(run_status())
    assert not any(name.startswith(("fireseg_drill", "fireseg_events_total")) for name in samples(metrics))
    time = "2026-11-29T10:00:00+01:00"
    metrics.on_status(run_status(drill=DrillStatus(False, "frame", time, passed=True, last_passed=time)))
    values = samples(metrics)
    assert values["fireseg_drill_passed"] == 1
    assert values["fireseg_drill_last_passed_timestamp_seconds"] == 1_795_942_800


def test_model_updates_have_metrics_if_they_are_configured() -> None:
    metrics = Prometheus()
    metrics.on_status(run_status())
    assert "fireseg_update_failed" not in samples(metrics)
    checked = "2026-11-26T12:00:00+00:00"
    for update, expected in (
        (UpdateStatus(trial=True), {"fireseg_update_failed": 0, "fireseg_update_trial": 1}),
        (UpdateStatus(problem="rolled back", checked=checked), {"fireseg_update_failed": 1, "fireseg_update_trial": 0}),
    ):
        metrics.on_status(run_status(update=update))
        assert expected.items() <= samples(metrics).items()
    checked_s = datetime.fromisoformat(checked).timestamp()
    assert samples(metrics)["fireseg_update_last_check_timestamp_seconds"] == checked_s
