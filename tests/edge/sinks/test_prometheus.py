"""What Prometheus is told, and that it understands it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from edge.host.machine import HostStatus
from edge.messages import END, START, CameraState
from edge.sinks.prometheus import Prometheus
from tests.support.factories import MODEL_HASH, event, result
from tests.support.web_client import get, serving, status

BARE = HostStatus(governor=None, temperature_c=None, throttling=None, load=None)


def figures(metrics: Prometheus) -> dict[str, float]:
    """By the name and labels of each."""
    told: dict[str, float] = {}
    for family in parse(metrics.scrape()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            told[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return told


def watched() -> Prometheus:
    metrics = Prometheus()
    metrics.on_result(result(1.0, 0.25, on=True, zone="stove"))
    metrics.on_event(event(START))
    metrics.on_status(status())
    return metrics


def test_the_figures_of_a_run_are_told() -> None:
    told = figures(watched())
    expected = {
        "fireseg_fire_share{zone=stove}": 0.25,
        "fireseg_alarm{zone=stove}": 1,
        "fireseg_results_total": 100,
        "fireseg_frames_dropped_total": 7,
        "fireseg_source_openings_total": 1,
        "fireseg_running_seconds": 12.3,
        "fireseg_quiet_seconds": 0.1,
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
    }
    assert {name: told.get(name) for name in expected} == pytest.approx(expected)
    assert [name for name in told if name.startswith("fireseg_model_info{sha256=" + MODEL_HASH)]
    assert told["process_resident_memory_bytes"] > 1e6


def test_the_source_is_in_one_state_at_a_time() -> None:
    metrics = watched()
    for now in CameraState:
        metrics.on_status(status(camera_state=now))
        told = figures(metrics)
        states = {state: told[f"fireseg_source_state{{state={state.value}}}"] for state in CameraState}
        assert states == {state: float(state is now) for state in CameraState}


def test_a_zone_that_is_watched_no_longer_disappears_and_its_events_stay_counted() -> None:
    metrics = watched()
    metrics.on_result(result(2.0, 0.1, on=False, zone="door"))
    metrics.on_event(event(END))
    told = figures(metrics)
    assert [name for name in told if "zone=stove" in name] == []
    assert told["fireseg_fire_share{zone=door}"] == 0.1
    assert told["fireseg_alarm{zone=door}"] == 0
    assert told["fireseg_events_total{kind=start,zone=frame}"] == told["fireseg_events_total{kind=end,zone=frame}"] == 1


def test_what_the_machine_does_not_tell_is_left_out() -> None:
    metrics = watched()
    metrics.on_status(status(machine=BARE))
    assert not re.search(b"throttled|celsius", metrics.scrape()[0])


def test_before_the_first_result_there_are_figures_of_the_process_and_no_zones() -> None:
    told = figures(Prometheus())
    assert "process_cpu_seconds_total" in told
    assert not [name for name in told if "zone" in name or "source_state" in name]


def test_two_runs_in_one_process_do_not_share_their_figures() -> None:
    watched()
    assert figures(watched())["fireseg_frame_age_seconds_count"] == 1


def test_a_zones_name_may_be_anything() -> None:
    metrics = Prometheus()
    name = 'a "b" \\ \n {c="d"}'
    metrics.on_result(result(1.0, 0.5, on=False, zone=name))
    (family,) = [each for each in parse(metrics.scrape()[0].decode()) if each.name == "fireseg_fire_share"]
    assert [sample.labels["zone"] for sample in family.samples] == [name]


def test_the_page_serves_them_in_the_format_that_is_asked_for() -> None:
    with serving() as page:
        page.on_result(result(1.0, 0.25, on=True))
        code, headers, text = get(page, "/metrics")
        assert (code, headers.get_all("Content-Type")) == (200, ["text/plain; version=0.0.4; charset=utf-8"])
        assert "fireseg_results" in {family.name for family in parse(text.decode())}
        code, headers, text = get(page, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "fireseg_model" in {family.name for family in parse_open(text.decode())}  # type: ignore[no-untyped-call]


def test_promtool_finds_nothing_wrong() -> None:
    if not (promtool := shutil.which("promtool")):
        pytest.skip("install prometheus to run this test: promtool is missing")
    done = subprocess.run([promtool, "check", "metrics"], input=watched().scrape()[0], capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
