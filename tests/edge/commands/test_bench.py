"""`fireseg-edge bench` says what the machine was like, and with --full keeps to MLPerf's rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import edge.cli
from edge.cli import app, conditions_line, time_fully
from edge.files import sha256
from edge.host.machine import HostStatus, Throttling, conditions

CALM = HostStatus("ondemand", 52.0, Throttling(0x50000), 0.4)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[HostStatus]:
    """What the next looks at the machine see; change it."""
    looks = [CALM, CALM]
    monkeypatch.setattr(edge.cli, "read_state", lambda: looks.pop(0))
    return looks


def bench(model: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["bench", str(model), "--threads", "1", "--seconds", "0", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return {"facts": json.loads(done.stdout), "stderr": done.stderr}


def test_the_json_names_the_model_by_its_content_and_tells_what_the_machine_was_like(
    models: dict[str, Path], machine: list[HostStatus]
) -> None:
    found = bench(models["int8"])
    facts = found["facts"]
    assert facts["model_sha256"] == sha256(models["int8"])
    assert facts["full"] is False
    assert facts["p90_ms"] == facts["stages"]["whole frame"]["p90_ms"]
    assert facts["machine"] | {"board": None, "cpu": None} == {
        "board": None,
        "cpu": None,
        "governor": "ondemand",
        "load": 0.4,
        "trouble": [],
        "temperature_before_c": 52.0,
        "temperature_after_c": 52.0,
        "throttle_bits": "0x50000",
        "throttled_now": [],
        "throttled_since_boot": ["under-voltage", "throttled"],
    }
    assert found["stderr"] == ""


def test_a_throttled_and_hot_machine_is_warned_of(models: dict[str, Path], machine: list[HostStatus]) -> None:
    machine[1] = replace(CALM, temperature_c=86.0, throttling=Throttling(0x50004))
    found = bench(models["int8"])
    assert len(found["facts"]["machine"]["trouble"]) == 2
    lines = found["stderr"].splitlines()
    assert len(lines) == 2
    assert all(line.startswith("warning: ") for line in lines)
    assert "(throttled)" in lines[0]
    assert "86 °C" in lines[1]


def test_a_full_run_times_at_least_so_many_frames_and_says_so(
    models: dict[str, Path], machine: list[HostStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.cli, "FULL_RUNS", 300)
    monkeypatch.setattr(edge.cli, "FULL_SECONDS", 0.01)
    facts = bench(models["int8"], "--full")["facts"]
    assert facts["full"] is True
    assert facts["queries"] == facts["stages"]["whole frame"]["runs"] >= 300
    assert facts["seconds"] > 0
    assert 50 <= facts["stages"]["resize the frame"]["runs"] < 300  # the rule is for whole frames


def test_a_full_run_goes_on_for_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.cli, "FULL_RUNS", 3)
    monkeypatch.setattr(edge.cli, "FULL_SECONDS", 0.05)
    latency = time_fully(lambda: None, seconds=0)
    assert latency.runs > 3


def test_the_headline_of_a_full_run_is_its_p90(
    models: dict[str, Path], machine: list[HostStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.cli, "FULL_RUNS", 60)
    monkeypatch.setattr(edge.cli, "FULL_SECONDS", 0.001)
    done = CliRunner().invoke(app, ["bench", str(models["int8"]), "--threads", "1", "--seconds", "0", "--full"])
    assert "p90 latency: " in done.stdout
    assert "60 frames one by one" in done.stdout
    assert "52 °C before and 52 °C after" in done.stdout


def test_the_line_about_the_machine_leaves_out_what_it_does_not_tell() -> None:
    nothing = HostStatus(None, None, None, None)
    line = conditions_line(conditions(nothing, nothing))
    assert line
    assert all(word not in line for word in ("None", "governor", "°C", "throttled", "load"))
    assert "throttled since boot: never" in conditions_line(
        conditions(nothing, replace(CALM, throttling=Throttling(0)))
    )
