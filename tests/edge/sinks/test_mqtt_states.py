"""Brokers that do not answer as they should: one log line when the state changes, and the status."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge.config_tables import MqttSection
from edge.sinks import mqtt_client
from edge.sinks.mqtt_client import MqttClient
from edge.sinks.mqtt_login import try_broker
from edge.sinks.mqtt_problems import NO_ACKNOWLEDGEMENT, NOT_MQTT, SAYS_NOTHING
from tests.support.mqtt_fixtures import kitchen, mosquitto
from tests.support.waiting import TIMEOUT_S, wait_for

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """A server that handles each connection by `answer` and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        answer(client)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def send(*replies: bytes) -> Answer:
    """Reply to the connection packet, then wait for the other end to give up."""

    def answer(client: socket.socket) -> None:
        client.recv(1 << 16)
        for reply in replies:
            client.sendall(reply)
        client.settimeout(TIMEOUT_S)
        client.recv(1 << 16)

    return answer


def connecting(section: MqttSection, **options: Any) -> closing[MqttClient]:
    return closing(MqttClient(section, "kitchen", status_topic="status", **options))


CONNACK_OK = b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda client: None, "closes the connection without an answer: check [mqtt] port, or set tls = true"),
        (send(), SAYS_NOTHING),
        (send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9), NOT_MQTT),
        (send(b"\x20\x00"), NOT_MQTT),
        (send(b"\x20\x03\x00\x99\x00"), NOT_MQTT),
        (send(bytes(200)), NOT_MQTT),
        (send(b"\xff" * 200), NOT_MQTT),
        (send(CONNACK_OK, b"\x30\xff\xff\xff\x7f", bytes(100_000)), NOT_MQTT),
        (send(b"SSH-2.0-OpenSSH_9.2\r\n"), SAYS_NOTHING),
        (send(CONNACK_OK, b"\x40\x02\x00\x07", b"\x90\x01\x00"), "closed the connection"),
        (send(b"\x20\x02\x00\x01"), "(Unsupported protocol version): it must speak MQTT 5"),
        (send(b"\x20\x03\x00\x87\x00"), "(Not authorized): check [mqtt] user and password"),
        (send(b"\x20\x0c\x00\x88\x09\x1f\x00\x06busy!\x1b"), "(Server unavailable, busy!\\x1b)"),
    ],
    ids=[
        "closes", "says nothing", "HTTP", "empty answer", "unknown reason", "zeros", "ones", "256 MB", "SSH",
        "odd packets", "MQTT 3", "login", "reason string",
    ],
)  # fmt: skip
def test_each_state_of_a_broker_is_one_log_line_and_the_problem_of_the_status(
    answer: Answer, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer) as port, connecting(kitchen(port), silence_s=0.2) as client:
        wait_for(lambda: problem in client.problem, 5.0)
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
        assert problem in caplog.text
        assert "\x1b" not in caplog.text


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (CONNACK_OK, ""),
        (b"\x20\x03\x00\x87\x00", "refuses the connection (Not authorized): check [mqtt] user and password"),
        (b"\x30\xff\xff\xff\x7f" + bytes(100), NOT_MQTT),
        (b"\x20\x03\x00\x99\x00", SAYS_NOTHING),
    ],
    ids=["accepts", "login", "256 MB", "unknown reason"],
)
def test_one_connection_to_try_a_broker_ends_with_its_problem(reply: bytes, problem: str) -> None:
    with answering(send(reply)) as port:
        assert try_broker(kitchen(port), 5.0) == problem


def test_a_broker_that_refuses_connections_or_has_no_address_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with connecting(kitchen(port)) as client:
        wait_for(lambda: client.problem.startswith("cannot be reached (Connection refused): check that it runs"))
    section = MqttSection(host="broker.invalid")
    with connecting(section) as client:
        wait_for(lambda: client.problem.startswith("has no address ("))
    with connecting(MqttSection(host="x" * 5000)) as client:
        wait_for(lambda: client.problem.startswith("cannot be reached (Unicode"))


def test_a_network_that_is_down_at_the_start_is_reported_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair, is_down = paho._socketpair_compat, True

    def pair_of_sockets() -> Any:
        if is_down:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return make_pair()

    monkeypatch.setattr(paho, "_socketpair_compat", pair_of_sockets)
    monkeypatch.setattr(mqtt_client, "MAX_RECONNECT_S", 0.01)
    with answering(lambda client: None) as port, connecting(kitchen(port)) as client:
        wait_for(lambda: client.problem.startswith("cannot be reached (Network is unreachable): check"))
        is_down = False
        wait_for(lambda: client.problem.startswith("closes the connection without an answer"))


def test_a_broker_that_drops_a_tls_connection_is_reported_with_the_remedy() -> None:
    def reset(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with answering(reset) as port, connecting(kitchen(port, tls=True)) as client:
        wait_for(lambda: client.problem.startswith("cannot be reached (Connection reset by peer)"))
        assert client.problem.endswith("check that it runs, and [mqtt] host, port and tls")


def test_a_broker_without_tls_is_named_as_such() -> None:
    with answering(send(b"\x20\x03\x00\x00\x00" * 9)) as port, connecting(kitchen(port, tls=True)) as client:
        wait_for(lambda: client.problem.startswith("does not answer in TLS ("))
        assert "set [mqtt] tls = false" in client.problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "days", "reason"), [("192.0.2.1", "2", "IP address mismatch"), ("127.0.0.1", "-1", "expired")]
)
def test_a_certificate_that_is_not_valid_is_named_with_the_reason(
    tmp_path: Path, address: str, days: str, reason: str
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    certificate, key, request, names = (tmp_path / name for name in ("broker.pem", "broker.key", "request", "names"))
    names.write_text(f"subjectAltName=IP:{address}\n")
    commands: list[list[str | Path]] = [
        ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", key, "-out", request],
        ["x509", "-req", "-in", request, "-signkey", key, "-days", days, "-extfile", names, "-out", certificate],
    ]
    for command in commands:
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(client: socket.socket) -> None:
        context.wrap_socket(client, server_side=True).close()

    with (
        answering(answer) as port,
        connecting(kitchen(port, tls=True, ca_file=str(certificate))) as client,
    ):
        wait_for(lambda: client.problem.startswith("has an invalid certificate ("))
        assert reason in client.problem


@pytest.mark.slow
def test_a_broker_that_goes_and_comes_is_one_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with mosquitto(tmp_path) as broker, connecting(kitchen(broker.port)) as client:
        assert client.connected.wait(TIMEOUT_S)
        broker.kill()
        wait_for(lambda: client.problem.startswith("cannot be reached"))
        broker.start()
        wait_for(lambda: client.problem == "" and "connected again" in caplog.text)
    states = ["connected", "closed the connection", "cannot be reached", "connected again"]
    assert [next(state for state in states[::-1] if state in record.message) for record in caplog.records] == states


@pytest.mark.slow
def test_a_broker_that_acknowledges_nothing_is_reported_and_connected_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_client, "ACKNOWLEDGE_S", 0.2)
    answer, stop, connections = send(CONNACK_OK), threading.Event(), []

    def keep(client: socket.socket) -> None:
        connections.append(client)
        answer(client)
        client.settimeout(TIMEOUT_S)
        while client.recv(1 << 16):
            pass

    with answering(keep) as port, connecting(kitchen(port)) as client:
        delivering = threading.Thread(target=client.deliver, args=("event", b"{}", stop), daemon=True)
        delivering.start()
        wait_for(lambda: client.problem == NO_ACKNOWLEDGEMENT)
        wait_for(lambda: len(connections) > 1)
        assert client.problem == NO_ACKNOWLEDGEMENT
        stop.set()
        delivering.join(TIMEOUT_S)
    assert caplog.text.count("does not acknowledge events") == 1
