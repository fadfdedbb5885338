"""What lets a camera in to a broker: user and password, TLS, and what is said where they are wrong."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.rig import free_port
from edge.errors import UserError
from edge.sections import MqttSection
from edge.sinks.mqtt import Mqtt
from edge.sinks.mqtt_client import Address, broker_address
from edge.sinks.spool import Spool
from tests.support.mqtt_fixtures import LARGE, fire, keys, listening, mosquitto, told, wait_for


def test_user_and_password_let_in_and_a_wrong_one_is_said_and_costs_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not (program := next((p for p in ("/usr/bin/mosquitto_passwd",) if Path(p).exists()), None)):
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run([program, "-b", passwords, "camera", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    settings = f"allow_anonymous false\npassword_file {passwords}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        right = Address("127.0.0.1", broker.port, user="camera", password="right")
        with told(replace(right, password="wrong"), tmp_path / "spool") as sink:
            sink.on_event(fire(1)[0])
            wait_for(lambda: "refuses" in caplog.text)
        assert "check [mqtt] user and password" in caplog.text
        assert "wrong" not in caplog.text
        with listening(broker, login=("camera", "right")) as listener, told(right, tmp_path / "spool"):
            wait_for(lambda: listener.events == keys(fire(1)[:1]))


def test_tls_is_checked_by_the_authority_that_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, other = (certify(tmp_path, name) for name in ("broker", "other"))
    settings = f"allow_anonymous true\ncertfile {certificate}\nkeyfile {certificate.with_suffix('.key')}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        right = Address("127.0.0.1", broker.port, tls=True, ca_file=str(certificate))
        with listening(broker, ca_file=str(certificate)) as listener:
            with told(replace(right, ca_file=str(other)), tmp_path / "spool") as sink:
                sink.on_event(fire(1)[0])
                wait_for(lambda: "cannot be reached" in caplog.text or "certificate" in caplog.text)
            assert listener.events == []
            with told(right, tmp_path / "spool"):
                wait_for(lambda: listener.events == keys(fire(1)[:1]))


def test_certificates_that_are_none_are_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(UserError, match="ca_file"):
            Mqtt(Address("127.0.0.1", free_port(), tls=True, ca_file=str(tmp_path / name)), Spool(tmp_path, LARGE))


def test_user_and_password_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("from file\n")
    section = MqttSection(host="broker", user="camera", password_file=str(tmp_path / "password"))
    address = broker_address(section)
    assert (address.user, address.password, str(address)) == ("camera", "from file", "broker:1883")
    monkeypatch.setenv("FIRESEG_MQTT_USER", "other")
    monkeypatch.setenv("FIRESEG_MQTT_PASSWORD", "from environment")
    address = broker_address(replace(section, tls=True))
    assert (address.user, address.password, str(address)) == ("other", "from environment", "broker:8883")


@pytest.mark.parametrize("wrong", ["", None])
def test_a_password_file_that_holds_none_is_said(tmp_path: Path, wrong: str | None) -> None:
    if wrong is not None:
        (tmp_path / "password").write_text(wrong)
    with pytest.raises(UserError, match="expected a file with a secret"):
        broker_address(MqttSection(host="broker", password_file=str(tmp_path / "password")))


def certify(folder: Path, name: str) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder.chmod(0o755)
    path = folder / f"{name}.pem"
    with suppress(FileNotFoundError):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"), "-out", path],
            check=True, capture_output=True,
        )  # fmt: skip
        path.with_suffix(".key").chmod(0o644)
        return path
    pytest.skip("openssl is not installed")
