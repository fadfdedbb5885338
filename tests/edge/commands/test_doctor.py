"""`fireseg-edge doctor`: one line a check, and what to do where something is wrong."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import edge.commands.doctor
from benchmarks.soak.rig import Broker
from edge.cli import app
from edge.commands.doctor import clock, clock_is_synchronised, disk, power, temperature
from edge.errors import UserError
from edge.host.machine import HostStatus, Throttling

NOW = datetime(2027, 5, 1, tzinfo=UTC)


def state(temperature_c: float | None = 50.0, bits: int | None = 0) -> HostStatus:
    return HostStatus(None, temperature_c, None if bits is None else Throttling(bits), 0.1)


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is cool, fed and on time."""
    monkeypatch.setattr(edge.commands.doctor, "read_state", state)
    monkeypatch.setattr(edge.commands.doctor, "clock_is_synchronised", lambda: True)


def doctor(*arguments: str | Path) -> tuple[int, dict[str, str]]:
    """The exit code, and each line by what it is about."""
    done = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    return done.exit_code, {line.split()[1]: line for line in done.stdout.splitlines()}


def test_a_machine_that_is_fit_gets_a_line_for_each_check_and_exit_code_0(well: None, models: dict[str, Path]) -> None:
    code, lines = doctor("--model", models["int8"], "--source", "test-pattern")
    assert code == 0
    assert list(lines) == ["temperature", "power", "disk", "clock", "model", "runtime", "camera"]
    assert all(line.startswith("ok ") for line in lines.values())
    assert "test-pattern, 320x240 px" in lines["camera"]
    assert "ms a frame" in lines["runtime"]


def test_a_missing_model_and_camera_are_told_with_their_remedies_and_without_passwords(well: None) -> None:
    code, lines = doctor("--model", "gone.tflite", "--source", "http://me:hunter2@127.0.0.1:9/live")
    assert code == 1
    assert lines["model"].startswith("wrong ")
    assert lines["model"].endswith("check the path")
    assert lines["camera"].startswith("wrong ")
    assert lines["camera"].endswith("check the address and that it is on")
    assert "hunter2" not in "".join(lines.values())
    assert lines["disk"].startswith("ok ")


def test_heat_is_told_before_the_machine_slows_down() -> None:
    assert temperature(state(60)).remedy == ""
    assert "heat sink" in temperature(state(71)).remedy
    assert temperature(state(None)).remedy == ""


def test_a_weak_supply_is_told_even_when_it_was_long_ago() -> None:
    assert power(state(bits=0)).remedy == ""
    assert power(state(bits=None)).remedy == ""
    assert "since it was started (under-voltage)" in power(state(bits=0x10000)).said
    assert "power supply" in power(state(bits=0x1)).remedy


def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk(tmp_path / "not" / "made" / "yet").remedy == ""
    monkeypatch.setattr(edge.commands.doctor, "MIN_FREE_BYTES", 1e18)
    assert "free some space" in disk(tmp_path).remedy


def test_a_clock_before_its_time_or_not_synchronised_is_told() -> None:
    assert clock(NOW, True).remedy == clock(NOW, None).remedy == ""
    assert "timedatectl" in clock(NOW, False).remedy
    assert "wrong time" in clock(datetime(1970, 1, 1, tzinfo=UTC), None).remedy


@pytest.mark.parametrize(("said", "meant"), [("yes\n", True), ("no\n", False), ("", None), ("Failed to connect", None)])
def test_what_systemd_says_of_the_clock_is_understood(said: str, meant: bool | None) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, said)

    assert clock_is_synchronised(run) is meant


def test_a_machine_without_systemd_says_nothing_of_its_clock() -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        raise FileNotFoundError

    assert clock_is_synchronised(run) is None


def test_a_broker_is_tried_where_one_is_configured(well: None, tmp_path: Path) -> None:
    config = tmp_path / "fireseg.toml"

    def told(port: int) -> str:
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n')
        return doctor("--config", config, "--model", "gone.tflite", "--source", "test-pattern")[1]["broker"]

    try:
        running = Broker(tmp_path / "open")
        closed = Broker(tmp_path / "closed", settings="allow_anonymous false")
    except UserError as error:
        pytest.skip(error.lines[0])
    try:
        assert told(running.port).startswith("ok ")
        assert "lets us in" in told(running.port)
        assert "refuses (Not authorized): check [mqtt]" in told(closed.port)
    finally:
        running.kill()
        closed.kill()
    assert "cannot be reached (Connection refused): check [mqtt]" in told(running.port)
