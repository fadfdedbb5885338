"""How to reach an MQTT broker: port, user and password, certificates, and one connection to try them."""

from __future__ import annotations

import ipaddress
import logging
import os
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config_tables import MqttSection
from edge.errors import UserError, reason_of
from edge.secrets import MQTT_PASSWORD, MQTT_USER, read_secret, read_variable
from edge.sinks.mqtt_problems import NOT_MQTT, SAYS_NOTHING, connect_problem, refusal

log = logging.getLogger(__name__)

PORT, TLS_PORT = 1883, 8883
KEEPALIVE_S = 30
MAX_PACKET_BYTES = 1 << 16  # that a broker may send: only small messages concern us


class LimitedClient(paho.Client):
    """A client that takes no packet above `MAX_PACKET_BYTES`, even if the broker ignores the announced limit.

    paho has no option for this, so a private method is overridden; a test fails if paho no longer calls it. paho asks
    the socket for a whole packet at once: the size of the request shows that of the packet before it takes memory.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:
            raise ValueError(f"a packet of {bufsize} bytes")
        return super()._sock_recv(bufsize)


def broker_port(broker: MqttSection) -> int:
    return broker.port or (TLS_PORT if broker.tls else PORT)


def make_client(broker: MqttSection, client_id: str) -> paho.Client:
    """Return a client with its credentials, not yet connected.

    Raises `UserError` if a secret or certificate cannot be read.
    """
    client = LimitedClient(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    user, password = read_variable(MQTT_USER) or broker.user, read_secret(MQTT_PASSWORD, broker.password_file)
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
    reasons: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: reasons.append(reason)
    client.connect_timeout = timeout_s
    try:
        client.connect(broker.host, broker_port(broker), KEEPALIVE_S)
        deadline_s = time.monotonic() + timeout_s
        while not reasons and time.monotonic() < deadline_s and client.loop(0.1) == paho.MQTT_ERR_SUCCESS:
            pass
    except OSError as error:
        return connect_problem(error)
    except Exception as error:  # paho does not expect every answer
        log.debug("traceback", exc_info=error)
        return NOT_MQTT
    finally:
        client.disconnect()
    if not reasons:
        return SAYS_NOTHING
    return refusal(reasons[0], None) if reasons[0].is_failure else ""


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
    """Return whether the host is this machine, judging by its name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
