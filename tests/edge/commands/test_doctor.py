"""`fireseg-edge doctor`: one line per check, with the remedy for each that fails."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

import edge.commands.doctor
import edge.reload
from edge.commands.doctor import check_clock, check_disk, check_power, check_temperature, is_clock_synchronized
from edge.errors import UserError
from edge.host.machine import HostStatus, Throttling
from edge.model.card import Card, attach, split_model
from edge.model.segmenter import Segmenter
from edge.model.self_test import SELF_TEST, record
from edge.secrets import WEB_PASSWORD
from tests.support.mqtt_fixtures import mosquitto
from tests.support.run_cli import fireseg_edge

NOW = datetime(2027, 5, 1, tzinfo=UTC)


def status(temperature_c: float | None = 50.0, bits: int | None = 0) -> HostStatus:
    return HostStatus(None, temperature_c, None if bits is None else Throttling(bits), 0.1)


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is cool, well powered and on time."""
    monkeypatch.setattr(edge.commands.doctor, "read_state", status)
    monkeypatch.setattr(edge.commands.doctor, "is_clock_synchronized", lambda: True)


def doctor(cwd: Path, *arguments: str | Path) -> tuple[int, dict[str, str]]:
    """Return the exit code, and each line by its check."""
    done = fireseg_edge("doctor", *arguments, cwd=cwd)
    return done.code, {line.split()[1]: line for line in done.out.splitlines()}


def test_a_healthy_machine_passes_every_check(healthy: None, models: dict[str, Path], tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, "--model", models["int8"], "--source", "test-pattern")
    assert code == 0
    assert list(lines) == ["temperature", "power", "disk", "clock", "model", "runtime", "camera", "tiles"]
    assert all(line.startswith("OK ") for line in lines.values())
    assert "test-pattern, 320x240 px" in lines["camera"]
    assert "ms per frame" in lines["runtime"]
    assert re.search(r"whole frame at \dx every \d+\.\d s, \d+ ms per pass at \d+\.\d frames", lines["tiles"])


def test_a_missing_model_and_camera_fail_with_their_remedies_and_no_password(healthy: None, tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, "--model", "gone.tflite", "--source", "http://me:hunter2@127.0.0.1:9/live")
    assert code == 1
    assert lines["model"].startswith("FAIL ")
    assert lines["model"].endswith(": check the path")
    assert lines["camera"].startswith("FAIL ")
    assert lines["camera"].endswith(": check the address and that it is on")
    assert "hunter2" not in "".join(lines.values())
    assert lines["disk"].startswith("OK ")


@pytest.mark.parametrize("pixels", [0, 1])
def test_a_model_that_sees_no_flames_fails(
    healthy: None, pixels: int, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.reload, "prove", lambda *_: pixels)
    _, lines = doctor(tmp_path, "--model", models["int8"], "--source", "test-pattern")
    assert lines["model"].startswith("OK " if pixels else "FAIL ")
    assert pixels or "detects no fire in the test pattern's flames: copy it again" in lines["model"]


def test_the_self_test_of_the_card_and_slow_kernels_are_reported(
    healthy: None, models: dict[str, Path], card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "tested.tflite"
    recorded = {SELF_TEST: record(Segmenter(models["int8"], threads=1))}
    path.write_bytes(attach(split_model(models["int8"])[0], card | recorded))
    arguments = ("--model", path, "--source", "test-pattern")
    lines = doctor(tmp_path, *arguments)[1]
    assert lines["model"].endswith(", self-test passed, all 8 maps are those of the export")
    with mock.patch("edge.model.segmenter.Segmenter.kernels", "builtin"):
        lines = doctor(tmp_path, *arguments)[1]
    assert lines["model"].startswith("OK "), "the maps are right"
    assert lines["runtime"].startswith("FAIL ")
    assert "without XNNPACK, several times slower: reinstall ai-edge-litert" in lines["runtime"]


def test_heat_fails_before_the_machine_throttles() -> None:
    assert check_temperature(status(60)) == "60 °C"
    assert check_temperature(status(None)) == check_power(status(bits=None)) == "not reported by this machine"
    with pytest.raises(UserError, match=r"71 °C: .*heat sink"):
        check_temperature(status(71))


def test_a_weak_power_supply_fails_even_if_it_was_long_ago() -> None:
    assert check_power(status(bits=0)) == "not throttled since boot"
    with pytest.raises(UserError, match=r"since boot \(under-voltage\): use the official power supply"):
        check_power(status(bits=0x10000))
    with pytest.raises(UserError, match="throttled now"):
        check_power(status(bits=0x1))


def test_a_nearly_full_disk_fails(tmp_path: Path) -> None:
    assert str(tmp_path) in check_disk(tmp_path / "not" / "made" / "yet")
    assert str(tmp_path) in check_disk(tmp_path / ("x" * 5000))
    with pytest.raises(UserError, match="free some space"):
        check_disk(tmp_path, min_free_bytes=1e18)


def test_a_clock_that_is_early_or_not_synchronized_fails() -> None:
    assert check_clock(NOW, True) == check_clock(NOW, None) + ", synchronized"
    for now, synchronized in ((NOW, False), (datetime(1970, 1, 1, tzinfo=UTC), None)):
        with pytest.raises(UserError, match="wrong time; see `timedatectl`"):
            check_clock(now, synchronized)


@pytest.mark.parametrize(("answer", "expected"), [("yes", True), ("no", False), ("", None), ("Failed", None)])
def test_the_answer_of_timedatectl_is_parsed(
    answer: str, expected: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_clock_synchronized() is None  # a machine without systemd
    (tmp_path / "timedatectl").write_text(f"#!/bin/sh\necho {answer}\n")
    (tmp_path / "timedatectl").chmod(0o755)
    assert is_clock_synchronized() is expected


@pytest.mark.parametrize(
    ("model", "advice"), [("base", "use the model small (`--model small`)"), ("small", "faster Pi")]
)
def test_a_slow_machine_gets_advice_for_its_own_model(
    healthy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, advice: str
) -> None:
    monkeypatch.setattr(edge.commands.doctor, "SLOW_MS", 0.0)
    line = doctor(tmp_path, "--model", model, "--source", "test-pattern")[1]["runtime"]
    assert line.startswith("FAIL ")
    assert advice in line
    assert "int8" not in line


def test_another_kind_of_the_model_is_named_only_if_it_is_faster(
    healthy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(edge.commands.doctor, "compare_kinds", lambda *_, **__: {"fast.tflite": 0.5, "slow.tflite": 2})
    line = doctor(tmp_path, "--source", "test-pattern")[1]["runtime"]
    assert "fast.tflite takes 0.50 of this model's time: faster on this machine" in line
    assert "slow" not in line


def test_a_page_without_a_password_fails(healthy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge.secrets.SERVICE_SECRETS", tmp_path / "none")
    monkeypatch.delenv(WEB_PASSWORD, raising=False)
    config, arguments = tmp_path / "fireseg.toml", ("--model", "gone.tflite", "--source", "test-pattern")
    for listen, expected in (
        ("0.0.0.0:80", "FAIL "),
        ("127.0.0.1:80", "has no password, only this machine can open it"),
    ):
        config.write_text(f'[web]\nlisten = "{listen}"\n')
        assert expected in doctor(tmp_path, "--config", config, *arguments)[1]["page"]
    monkeypatch.setenv(WEB_PASSWORD, "a long password")
    assert doctor(tmp_path, "--config", config, *arguments)[1]["page"].endswith(" has a password")


@pytest.mark.slow
def test_a_configured_broker_is_checked(healthy: None, tmp_path: Path) -> None:
    config = tmp_path / "fireseg.toml"

    def check(port: int) -> str:
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n')
        arguments = ("--config", config, "--model", "gone.tflite", "--source", "test-pattern")
        return doctor(tmp_path, *arguments)[1]["broker"]

    with mosquitto(tmp_path / "closed", settings="allow_anonymous false") as broker:
        assert check(broker.port).endswith("(Not authorized): check [mqtt] user and password")
    with mosquitto(tmp_path / "open") as broker:
        line = check(broker.port)
        assert line.startswith("OK ")
        assert "accepts the login" in line
    assert "(Connection refused): check that it runs" in check(broker.port)
