"""The connection to an MQTT broker: reconnects forever and delivers events at least once.

Events use QoS 1, one at a time: each waits for the broker's acknowledgement (PUBACK), and after a lost connection it is
sent again. A receiver may thus see an event twice and drops the copy by its `id` and `number`. Everything else is
retained at QoS 0 and published again after each connection, so that an old state never replaces a newer one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSection
from edge.errors import UserError
from edge.secrets import MQTT_PASSWORD, MQTT_USER, read_secret

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
PORT, TLS_PORT = 1883, 8883
KEEPALIVE_S = 30
MAX_RECONNECT_S = 30
SHORT_SESSION_S = 4.0
MAX_SHORT_SESSIONS = 6
"""More short sessions in a row mean that another client uses our id: each connection ends the other's."""
POLL_S = 0.2
ACKNOWLEDGE_GRACE_S = 0.2  # how long an event on its way may still be acknowledged when the run stops
DISCONNECT_GRACE_S = 0.4
ONLINE, OFFLINE = "online", "offline"


class MqttClient:
    """One client of one broker.

    Raises `UserError` if a secret or certificate cannot be read.

    Args:
        broker: host, port, TLS and login.
        name: of the camera; part of the client id.
        status_topic: online while connected; the broker's last will sets it offline.
        on_connect: called after each connection, in the client's thread, to publish all retained topics.
        subscriptions: topics to subscribe to.
        on_message: called with topic and payload, in the client's thread.
        max_short_sessions: in a row, before a clash of client ids is reported.
    """

    def __init__(
        self,
        broker: MqttSection,
        name: str,
        *,
        status_topic: str,
        on_connect: Callable[[], None] = lambda: None,
        subscriptions: Sequence[str] = (),
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
        max_short_sessions: int = MAX_SHORT_SESSIONS,
    ) -> None:
        self._address = f"{broker.host}:{broker_port(broker)}"
        self._status_topic, self._subscriptions, self._on_connect = status_topic, subscriptions, on_connect
        self._max_short_sessions, self._short_sessions = max_short_sessions, 0
        self.connected = threading.Event()
        self._connected_s = 0.0
        self._reported = ""  # the last problem that was logged
        self._refused: int | None = None  # id of the last message that the broker refused
        self._client = client = make_client(broker, f"fireseg-{name}-{machine_hash()}")
        client.will_set(status_topic, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, MAX_RECONNECT_S)
        client.on_connect, client.on_connect_fail = self._handle_connect, self._handle_connect_failure
        client.on_disconnect, client.on_publish = self._handle_disconnect, self._handle_acknowledgement
        client.on_message = lambda _client, _data, message: on_message(message.topic, bytes(message.payload))
        client.suppress_exceptions = True
        client.connect_async(broker.host, broker_port(broker), KEEPALIVE_S, clean_start=True)
        client.loop_start()

    def publish(self, topic: str, payload: str | bytes) -> None:
        """Publish a retained message if connected; `on_connect` publishes it again after a reconnection."""
        if self.connected.is_set():
            self._client.publish(topic, payload, qos=0, retain=True)

    def deliver(self, topic: str, payload: bytes, stop: threading.Event) -> bool:
        """Publish one event and return whether the broker acknowledged it, at the latest soon after `stop` is set."""
        while not self.connected.wait(POLL_S):
            if stop.is_set():
                return False
        with suppress(RuntimeError):  # the connection was lost at this moment
            message = self._client.publish(topic, payload, qos=1)  # paho resends it after a lost connection
            while not message.is_published() and not stop.is_set():
                message.wait_for_publish(POLL_S)
            message.wait_for_publish(ACKNOWLEDGE_GRACE_S)
            return message.is_published() and message.mid != self._refused
        return False

    def close(self) -> None:
        """Publish that the camera is offline, and disconnect."""
        if self.connected.is_set():
            with suppress(RuntimeError, ValueError):  # the connection was lost at this moment
                offline = self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
                offline.wait_for_publish(DISCONNECT_GRACE_S)
        self._client.disconnect()  # without joining paho's thread, which may be connecting

    # Paho's thread.

    def _handle_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _: Any) -> None:
        if reason.is_failure:
            self._report(f"refuses the connection ({reason}): check [mqtt] user and password")
            return
        self._connected_s = time.monotonic()
        if not self._short_sessions:
            log.info("MQTT broker %s: connected", self._address)
            self._reported = ""
        for topic in self._subscriptions:
            client.subscribe(topic)
        client.publish(self._status_topic, ONLINE, qos=0, retain=True)
        self.connected.set()
        self._on_connect()

    def _handle_connect_failure(self, _client: paho.Client, _data: Any) -> None:
        self._short_sessions = 0  # the broker is down: short sessions were not another client's doing
        self._report("cannot be reached")

    def _handle_disconnect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _: Any) -> None:
        if not self.connected.is_set():
            return
        self.connected.clear()
        is_short = time.monotonic() - self._connected_s < SHORT_SESSION_S
        self._short_sessions = self._short_sessions + 1 if is_short else 0
        # Few brokers name the reason when a client with the same id connects.
        is_taken_over = self._short_sessions >= self._max_short_sessions or reason.getName() == "Session taken over"
        client.reconnect_delay_set(MAX_RECONNECT_S if is_taken_over else 1, MAX_RECONNECT_S)
        if is_taken_over:
            self._report("drops the connection again and again: give each run its own [mqtt] name")
        elif reason.is_failure:
            self._report(f"closed the connection ({reason})")

    def _handle_acknowledgement(self, _client: Any, _data: Any, id_: int, reason: ReasonCode, _: Any) -> None:
        if reason.is_failure:
            self._refused = id_
            self._report(f"refuses events ({reason}): check its access rules")

    def _report(self, problem: str) -> None:
        """Log a problem once, however often it occurs in a row."""
        if problem != self._reported:
            self._reported = problem
            log.warning("MQTT broker %s %s; events wait, will retry", self._address, problem)


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
            raise UserError(
                f"[mqtt] ca_file {broker.ca_file} could not be read ({error})", "expected certificates in PEM"
            ) from error
    return client


def machine_hash() -> str:
    """Return six letters that identify this machine: many Pis are called raspberrypi."""
    try:
        identity = MACHINE_ID.read_text()
    except OSError:
        identity = socket.gethostname()
    return hashlib.sha256(f"fireseg-edge {identity}".encode()).hexdigest()[:6]


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
        return f"cannot be reached ({error.strerror or error})"
    except queue.Empty:
        return "does not answer like a broker"
    finally:
        client.disconnect()
    return f"refuses ({reason})" if reason.is_failure else ""


def slug(name: str) -> str:
    """Return the name as part of a topic or id: a-z, 0-9, - and _.

    If that changes the name, a hash is appended so that two names stay distinct: "the-stove-fe3c4b" for "the stove".
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    return plain if plain == name else f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
