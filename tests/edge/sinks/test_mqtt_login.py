"""Login to a broker: user and password, TLS, and what the log says if they are wrong."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edge.config_tables import MqttSection
from edge.errors import UserError
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.mqtt import Mqtt
from edge.sinks.mqtt_login import broker_port, clear_password, make_client
from tests.support.certificate import certify
from tests.support.mqtt_fixtures import MAX_BYTES, fire, keys, kitchen, listening, mosquitto, publishing
from tests.support.run_cli import fireseg_edge
from tests.support.waiting import wait_for


@pytest.mark.slow
def test_a_wrong_password_is_reported_and_costs_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not (program := shutil.which("mosquitto_passwd")):
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run([program, "-b", passwords, "camera", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    password = tmp_path / "password"
    settings = f"allow_anonymous false\npassword_file {passwords}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        section = kitchen(broker.port, user="camera", password_file=str(password))
        password.write_text("wrong")
        with publishing(section, tmp_path / "outbox") as sink:
            sink.on_event(fire(1)[0])
            wait_for(lambda: "refuses the connection" in caplog.text)
        assert "check [mqtt] user and password" in caplog.text
        assert "wrong" not in caplog.text
        password.write_text("right")
        with listening(broker, login=("camera", "right")) as listener, publishing(section, tmp_path / "outbox"):
            wait_for(lambda: listener.events[:1] == keys(fire(1)[:1]))


@pytest.mark.slow
def test_the_brokers_certificate_is_checked_by_the_configured_authority(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, other = (certify(tmp_path, name) for name in ("broker", "other"))
    settings = f"allow_anonymous true\ncertfile {certificate}\nkeyfile {certificate.with_suffix('.key')}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        section = kitchen(broker.port, tls=True, ca_file=str(certificate))
        with listening(broker, ca_file=str(certificate)) as listener:
            with publishing(replace(section, ca_file=str(other)), tmp_path / "outbox") as sink:
                sink.on_event(fire(1)[0])
                wait_for(lambda: "has an invalid certificate (self-signed certificate)" in caplog.text)
            assert listener.events == []
            with publishing(section, tmp_path / "outbox"):
                wait_for(lambda: listener.events[:1] == keys(fire(1)[:1]))


def test_unreadable_certificates_fail_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(UserError, match="ca_file"):
            Mqtt(kitchen(0, tls=True, ca_file=str(tmp_path / name)), DiskQueue(tmp_path, MAX_BYTES))


def test_the_login_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("from file\n")
    section = MqttSection(host="broker", user="camera", password_file=str(tmp_path / "password"))
    client = make_client(section, "test")
    assert (client.username, client.password) == ("camera", "from file")
    monkeypatch.setenv("FIRESEG_MQTT_USER", "other")
    monkeypatch.setenv("FIRESEG_MQTT_PASSWORD", "from environment")
    client = make_client(section, "test")
    assert (client.username, client.password) == ("other", "from environment")
    assert [broker_port(replace(section, tls=tls)) for tls in (False, True)] == [1883, 8883]


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_or_missing_password_file_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    with pytest.raises(UserError, match="expected a file with a secret"):
        make_client(MqttSection(host="broker", password_file=str(tmp_path / "password")), "test")


def test_a_password_that_would_cross_the_network_unencrypted_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "password").write_text("geheim")
    section = MqttSection(host="broker.local", password_file=str(tmp_path / "password"))
    assert clear_password(section).startswith("the MQTT password is sent unencrypted to broker.local: ")
    for safe in (
        replace(section, tls=True), replace(section, host="localhost"), replace(section, host="127.0.0.2"),
        replace(section, host="::1"), replace(section, password_file=""),
    ):  # fmt: skip
        assert clear_password(safe) == ""
    monkeypatch.setenv("FIRESEG_MQTT_PASSWORD", "geheim")
    assert clear_password(MqttSection(host="192.168.0.9"))
    Mqtt(replace(section, host="192.0.2.1"), DiskQueue(tmp_path / "outbox", MAX_BYTES), grace_s=0.0).close()
    assert caplog.text.count("sent unencrypted to 192.0.2.1") == 1
    assert "geheim" not in caplog.text
    (tmp_path / "fireseg.toml").write_text('[mqtt]\nhost = "192.0.2.1"\n')
    done = fireseg_edge("config", "check", "fireseg.toml", cwd=tmp_path)
    assert (done.code, done.err.count("warning: the MQTT password is sent unencrypted")) == (0, 1)
