"""How to reach an MQTT broker: port, user and password, certificates, and one connection to try them."""

from __future__ import annotations

import ipaddress
import os
import queue

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSection
from edge.errors import UserError, reason_of
from edge.secrets import MQTT_PASSWORD, MQTT_USER, read_secret
from edge.sinks.mqtt_problems import SAYS_NOTHING, connect_problem, refusal

PORT, TLS_PORT = 1883, 8883
KEEPALIVE_S = 30


def broker_port(broker: MqttSection) -> int:
    return broker.port or (TLS_PORT if broker.tls else PORT)


def make_client(broker: MqttSection, client_id: str) -> paho.Client:
    """Return a client with its credentials, not yet connected.

    Raises `UserError` if a secret or certificate cannot be read.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    user, password = os.environ.get(MQTT_USER) or broker.user, read_secret(MQTT_PASSWORD, broker.password_file)
    if user or password:
        client.username_pw_set(user, password)
    if broker.tls:
        try:
            client.tls_set(ca_certs=broker.ca_file or None)
        except OSError as error:  # includes ssl.SSLError
            problem = f"[mqtt] ca_file {broker.ca_file} could not be read ({reason_of(error)})"
            raise UserError(problem, "expected certificates in PEM") from error
    return client


def try_broker(broker: MqttSection, timeout_s: float) -> str:
    """Connect once and return what went wrong; empty on success. Raises `UserError` as `make_client` does."""
    client = make_client(broker, f"fireseg-doctor-{os.getpid()}")
    answers: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(reason)
    client.connect_timeout = timeout_s
    try:
        client.connect(broker.host, broker_port(broker), KEEPALIVE_S)
        client.loop_start()
        reason = answers.get(timeout=timeout_s)
    except OSError as error:
        return connect_problem(error)
    except queue.Empty:
        return SAYS_NOTHING
    finally:
        client.disconnect()
    return refusal(reason, None) if reason.is_failure else ""


def clear_password(broker: MqttSection) -> str:
    """Return a warning if the password would be sent unencrypted through a network; else empty."""
    has_password = bool(os.environ.get(MQTT_PASSWORD) or broker.password_file)
    if not has_password or broker.tls or is_loopback(broker.host):
        return ""
    return (
        f"the MQTT password is sent unencrypted to {broker.host}: "
        "set [mqtt] tls = true, or use the password nowhere else"
    )


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
