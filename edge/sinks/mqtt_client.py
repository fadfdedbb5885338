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
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSection
from edge.errors import UserError
from edge.secrets import MQTT_PASSWORD, MQTT_USER, read_secret
from edge.sinks.outbox import Delivery

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
PORT, TLS_PORT = 1883, 8883
KEEPALIVE_S = 30
MAX_RECONNECT_S = 30
SHORT_SESSION_S = 4.0
MAX_SHORT_SESSIONS = 6
"""More short sessions in a row mean that another client uses our id: each connection ends the other's."""
POLL_S = 0.1
ACKNOWLEDGE_GRACE_S = 0.2
"""How long an event on its way may still be acknowledged when the run stops."""
DISCONNECT_GRACE_S = 0.4
ONLINE, OFFLINE = "online", "offline"


@dataclass(frozen=True)
class BrokerAddress:
    """Address of a broker and the credentials for it."""

    host: str
    port: int = 0
    """0 for the default port."""
    tls: bool = False
    ca_file: str = ""
    """Certificates that sign the broker's; empty for the system's."""
    user: str | None = None
    password: str | None = None

    @property
    def actual_port(self) -> int:
        return self.port or (TLS_PORT if self.tls else PORT)

    def __str__(self) -> str:
        return f"{self.host}:{self.actual_port}"


def broker_address(section: MqttSection) -> BrokerAddress:
    """Return the configured address with its credentials. Raises `UserError` if a secret cannot be read."""
    user = os.environ.get(MQTT_USER) or section.user or None
    password = read_secret(MQTT_PASSWORD, section.password_file)
    return BrokerAddress(section.host, section.port, section.tls, section.ca_file, user, password)


class MqttClient:
    """One client of one broker.

    Args:
        name: of the camera; part of the client id.
        status_topic: online while connected; the broker's last will sets it offline.
        on_connect: called after each connection, in the client's thread, to publish all retained topics.
        subscriptions: topics to subscribe to.
        on_message: called with topic and payload, in the client's thread.
        max_short_sessions: in a row, before a clash of client ids is reported.
    """

    def __init__(
        self,
        address: BrokerAddress,
        name: str,
        *,
        status_topic: str,
        on_connect: Callable[[], None] = lambda: None,
        subscriptions: Sequence[str] = (),
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
        max_short_sessions: int = MAX_SHORT_SESSIONS,
    ) -> None:
        self._address = address
        self._status_topic = status_topic
        self._subscriptions = subscriptions
        self._on_connect = on_connect
        self._max_short_sessions = max_short_sessions
        self._short_sessions = 0
        self._changed = threading.Condition()
        self._is_connected = False
        self._connected_s = 0.0
        self._reported = ""
        """The last trouble that was logged."""
        self._acknowledged: deque[int] = deque(maxlen=64)
        """Ids of the last messages that left, of any QoS."""
        self._refused: int | None = None
        """Id of the last message that the broker refused."""
        self._client = client = make_client(address, f"fireseg-{name}-{machine_hash()}")
        client.will_set(status_topic, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, MAX_RECONNECT_S)
        client.on_connect, client.on_connect_fail = self._connected, self._connect_failed
        client.on_disconnect, client.on_publish = self._disconnected, self._published
        client.on_message = lambda _client, _data, message: on_message(message.topic, bytes(message.payload))
        client.suppress_exceptions = True
        client.connect_async(address.host, address.actual_port, KEEPALIVE_S, clean_start=True)
        client.loop_start()

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    def publish(self, topic: str, payload: str | bytes) -> None:
        """Publish a retained message if connected; `on_connect` publishes it again after a reconnection."""
        if self._is_connected:
            self._client.publish(topic, payload, qos=0, retain=True)

    def deliver(self, topic: str, payload: bytes, stop: threading.Event) -> Delivery:
        """Publish one event and wait until the broker acknowledges it, or until soon after `stop` is set."""
        if not self._wait_for(lambda: self._is_connected, stop, grace_s=0):
            return Delivery.RETRY
        # Not under the lock: paho takes its own first and ours in its callbacks. It resends after a lost connection.
        message_id = self._client.publish(topic, payload, qos=1).mid
        if not self._wait_for(lambda: message_id in self._acknowledged, stop, grace_s=ACKNOWLEDGE_GRACE_S):
            return Delivery.RETRY
        return Delivery.RETRY if message_id == self._refused else Delivery.DELIVERED

    def close(self) -> None:
        """Publish that the camera is offline, and disconnect."""
        if self._is_connected:
            with suppress(RuntimeError, ValueError):  # the connection was lost at this moment
                offline = self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
                offline.wait_for_publish(DISCONNECT_GRACE_S)
        self._client.disconnect()  # without joining paho's thread, which may be connecting

    def _wait_for(self, condition: Callable[[], bool], stop: threading.Event, *, grace_s: float) -> bool:
        """Return whether `condition` became true before `stop` was set, or within `grace_s` after."""
        with self._changed:
            while not stop.is_set():
                if self._changed.wait_for(condition, POLL_S):
                    return True
            return self._changed.wait_for(condition, grace_s)

    # Paho's thread.

    def _connected(
        self, client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._report(f"refuses the connection ({reason}): check [mqtt] user and password")
            return
        self._is_connected = True
        self._connected_s = time.monotonic()
        if not self._short_sessions:
            log.info("MQTT broker %s: connected", self._address)
            self._reported = ""
        for topic in self._subscriptions:
            client.subscribe(topic)
        client.publish(self._status_topic, ONLINE, qos=0, retain=True)
        self._on_connect()
        with self._changed:
            self._changed.notify_all()

    def _connect_failed(self, client: paho.Client, _data: Any) -> None:
        self._short_sessions = 0  # the broker is down: short sessions were not another client's doing
        client.reconnect_delay_set(1, MAX_RECONNECT_S)
        self._report("cannot be reached")

    def _disconnected(
        self, client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        was_connected, self._is_connected = self._is_connected, False
        if not was_connected:
            return
        is_short = time.monotonic() - self._connected_s < SHORT_SESSION_S
        self._short_sessions = self._short_sessions + 1 if is_short else 0
        # Brokers rarely name the reason when a client with the same id connects.
        taken_over = self._short_sessions >= self._max_short_sessions or reason.getName() == "Session taken over"
        client.reconnect_delay_set(MAX_RECONNECT_S if taken_over else 1, MAX_RECONNECT_S)
        if taken_over:
            self._report("drops the connection again and again: give each run its own [mqtt] name")
        elif reason.is_failure:
            self._report(f"closed the connection ({reason})")

    def _published(
        self, _client: paho.Client, _data: Any, message_id: int, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused = message_id
            self._report(f"refuses events ({reason}): check its access rules")
        with self._changed:
            self._acknowledged.append(message_id)
            self._changed.notify_all()

    def _report(self, trouble: str) -> None:
        """Log a trouble once, however often it occurs in a row."""
        if trouble != self._reported:
            self._reported = trouble
            log.warning("MQTT broker %s %s; events wait, will retry", self._address, trouble)


def make_client(address: BrokerAddress, client_id: str) -> paho.Client:
    """Return a client with its credentials, not yet connected. Raises `UserError` for unreadable certificates."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    if address.user or address.password:
        client.username_pw_set(address.user or "", address.password)
    if address.tls:
        try:
            client.tls_set(ca_certs=address.ca_file or None)
        except OSError as error:  # includes ssl.SSLError
            raise UserError(
                f"[mqtt] ca_file {address.ca_file} could not be read ({error})", "expected certificates in PEM"
            ) from error
    return client


def machine_hash() -> str:
    """Return six letters that identify this machine: many Pis are called raspberrypi."""
    try:
        identity = MACHINE_ID.read_text()
    except OSError:
        identity = socket.gethostname()
    return hashlib.sha256(f"fireseg-edge {identity}".encode()).hexdigest()[:6]


def try_broker(address: BrokerAddress, timeout_s: float) -> str:
    """Connect once and return what went wrong; empty on success. Raises `UserError` for unreadable certificates."""
    client = make_client(address, f"fireseg-doctor-{os.getpid()}")
    answers: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(reason)
    client.connect_timeout = timeout_s
    try:
        client.connect(address.host, address.actual_port, KEEPALIVE_S)
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

    If that changes the name, a hash is appended so that two names stay distinct.

    Example:
        >>> slug("the stove")
        'the-stove-fe3c4b'
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    return plain if plain == name else f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
