"""The connection to an MQTT broker: reconnects forever and delivers events at least once.

Events use QoS 1, one at a time: each waits for the broker's acknowledgement (PUBACK) and is sent again after a lost
connection, so a receiver drops copies by `id` and `number`. Everything else is retained at QoS 0 and published again
after each connection, so that an old state never replaces a newer one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config_tables import MqttSection
from edge.sinks.mqtt_login import KEEPALIVE_S, MAX_PACKET_BYTES, broker_port, make_client
from edge.sinks.mqtt_problems import (
    NAME_CLASH,
    NO_ACKNOWLEDGEMENT,
    NOT_MQTT,
    SAYS_NOTHING,
    TAKES_OVER,
    connect_problem,
    early_end,
    reason_text,
    refusal,
)  # fmt: skip
from edge.sinks.outbox import RejectedError
from edge.threads import Worker

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
MAX_RECONNECT_S = 30
SHORT_SESSION_S = 4.0
MAX_SHORT_SESSIONS = 6  # more in a row mean that another client uses our id: each connection ends the other's
POLL_S = 0.2
ACKNOWLEDGE_GRACE_S = 0.2  # how long an event on its way may still be acknowledged when the run stops
DISCONNECT_GRACE_S = 0.4
ACKNOWLEDGE_S = 20.0  # how long a connected broker may take to acknowledge an event before the connection is renewed
SILENCE_S = 10.0  # how long a broker may take to answer before that is reported
CLASH_HOLD_S = 60.0  # how long after its last message another client of our name is reported
PACKET_HEAD_BYTES = 10  # at most, without the topic
REFUSES_EVENTS = "refuses events"
WILL_RETRY = "; events wait, will retry"
ONLINE, OFFLINE = "online", "offline"


class MqttClient:
    """One client of one broker.

    Raises `UserError` if a secret or certificate cannot be read.

    Args:
        broker: host, port, TLS and login.
        name: of the camera; part of the client id.
        status_topic: online while connected; the broker's last will sets it offline.
        own_topic: to which no other client should publish; one that does is reported.
        on_connect: called after each connection, in the client's thread, to publish all retained topics.
        subscriptions: topics to subscribe to.
        on_message: called with topic, payload and whether the broker had kept it, in the client's thread.
        max_short_sessions: in a row, before a clash of client ids is reported.
        silence_s: how long a broker may say nothing.
    """

    def __init__(
        self,
        broker: MqttSection,
        name: str,
        *,
        status_topic: str,
        own_topic: str = "",
        on_connect: Callable[[], None] = lambda: None,
        subscriptions: Sequence[str] = (),
        on_message: Callable[[str, bytes, bool], None] = lambda _topic, _payload, _is_retained: None,
        max_short_sessions: int = MAX_SHORT_SESSIONS,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._broker, self._address = broker, f"{broker.host}:{broker_port(broker)}"
        self._status_topic, self._own_topic, self._subscriptions = status_topic, own_topic, subscriptions
        self._on_connect, self._on_message = on_connect, on_message
        self._max_short_sessions, self._short_sessions = max_short_sessions, 0
        self._silence_s = silence_s
        self.connected = threading.Event()
        self._closing = threading.Event()
        self._connected_s = 0.0
        self._waiting_since_s: float | None = None  # a connection is open and not answered
        self._clash_s = float("-inf")  # when another client last published to our topic
        self._max_packet_bytes = float("inf")  # that the broker accepts
        self._problem = self._logged = ""  # now; the last one that was logged, until a session lasts
        self._refused: int | None = None  # id of the last message that the broker refused
        self._client = client = make_client(broker, f"fireseg-{name}-{machine_hash()}")
        client.will_set(status_topic, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, MAX_RECONNECT_S)
        client.on_socket_open, client.on_connect = self._handle_socket, self._handle_connect
        client.on_connect_fail, client.on_disconnect = self._handle_connect_failure, self._handle_disconnect
        client.on_publish, client.on_message = self._handle_acknowledgement, self._handle_message
        # Without the client's thread, paho would write to the socket in the thread that publishes.
        client.on_socket_register_write = lambda *_: None
        client.suppress_exceptions = True
        self._prepare_connection()
        self._worker = Worker("MQTT client", self._run)
        self._worker.start()

    @property
    def problem(self) -> str:
        """Why events do not arrive, or a clash of names; empty if all is well. Notices a broker that says nothing."""
        now_s = time.monotonic()
        if self._is_silent():
            self._report(SAYS_NOTHING)
        if self._problem == NAME_CLASH and now_s - self._clash_s > CLASH_HOLD_S:
            self._problem = self._logged = ""
        if self._logged and not self._problem and now_s - self._connected_s > SHORT_SESSION_S:
            log.info("MQTT broker %s: connected again", self._address)
            self._logged = ""
        return self._problem

    def publish(self, topic: str, payload: str | bytes, *, retain: bool = True) -> None:
        """Publish a message if connected; `on_connect` publishes retained ones again after a reconnection."""
        if self._is_too_large(topic, payload):
            log.debug("%s is larger than the broker accepts", topic)
        elif self.connected.is_set():
            self._client.publish(topic, payload, qos=0, retain=retain)

    def deliver(self, topic: str, payload: bytes, stop: threading.Event) -> bool:
        """Publish one event and return whether the broker acknowledged it, at the latest soon after `stop` is set.

        Raises `RejectedError` if it is larger than the broker accepts.
        """
        while not self.connected.wait(POLL_S):
            if stop.is_set():
                return False
        limit = self._max_packet_bytes
        if self._is_too_large(topic, payload):
            raise RejectedError(f"{len(payload)} bytes are more than the broker accepts in a packet ({limit})")
        with suppress(RuntimeError):  # the connection was lost at this moment
            message = self._client.publish(topic, payload, qos=1)  # paho resends it after a lost connection
            waits_since_s = time.monotonic()
            while not message.is_published() and not stop.is_set():
                message.wait_for_publish(POLL_S)
                if not self.connected.is_set():
                    waits_since_s = time.monotonic()
                elif time.monotonic() - waits_since_s > ACKNOWLEDGE_S:
                    self._report(NO_ACKNOWLEDGEMENT)
                    self._cut()
            message.wait_for_publish(ACKNOWLEDGE_GRACE_S)
            is_accepted = message.is_published() and message.mid != self._refused
            if is_accepted and self._problem.startswith((REFUSES_EVENTS, NO_ACKNOWLEDGEMENT)):
                log.info("MQTT broker %s accepts events again", self._address)
                self._problem = self._logged = ""
            return is_accepted
        return False

    def close(self) -> None:
        """Publish that the camera is offline, and disconnect."""
        self._closing.set()
        if self.connected.is_set():
            with suppress(RuntimeError, ValueError):  # the connection was lost at this moment
                offline = self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
                offline.wait_for_publish(DISCONNECT_GRACE_S)
        self._client.disconnect()  # without joining the thread, which may be connecting
        self._worker.join(0.0)

    def _is_too_large(self, topic: str, payload: str | bytes) -> bool:
        return len(topic.encode()) + len(payload) + PACKET_HEAD_BYTES > self._max_packet_bytes

    def _is_silent(self) -> bool:
        """Return whether the broker has not answered the connection for long."""
        since_s = self._waiting_since_s
        return since_s is not None and time.monotonic() - since_s > self._silence_s

    def _cut(self) -> None:
        """End the connection; the client's thread reconnects and resends unacknowledged events."""
        with suppress(OSError):
            if isinstance(sock := self._client.socket(), socket.socket):
                sock.shutdown(socket.SHUT_RDWR)

    def _prepare_connection(self) -> None:
        limit = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limit.MaximumPacketSize = MAX_PACKET_BYTES
        host, port = self._broker.host, broker_port(self._broker)
        self._client.connect_async(host, port, KEEPALIVE_S, clean_start=True, properties=limit)

    # The client's thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                # Makes the pair of sockets by which a publish wakes this thread; fails while there is no network.
                self._client.loop(0.0)
                self._client.loop_forever(retry_first_connection=True)
            except Exception as error:  # paho does not expect every answer, nor every host name
                log.debug("traceback", exc_info=error)
                self._report(connect_problem(error) if self._client.socket() is None else NOT_MQTT)
            self.connected.clear()
            self._waiting_since_s = None
            if not self._closing.wait(MAX_RECONNECT_S if self._problem else 1.0):
                self._prepare_connection()

    def _handle_socket(self, _client: paho.Client, _data: Any, _socket: Any) -> None:
        self._waiting_since_s = time.monotonic()

    def _handle_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._waiting_since_s = None
        if reason.is_failure:
            self._report(refusal(reason, properties))
            return
        self._connected_s = time.monotonic()
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", float("inf"))
        if not self._logged:
            log.info("MQTT broker %s: connected", self._address)
        if self._short_sessions < self._max_short_sessions and self._problem != NO_ACKNOWLEDGEMENT:
            self._problem = ""
        for topic in self._subscriptions:
            client.subscribe(topic)
        if self._own_topic:
            client.subscribe(self._own_topic, options=SubscribeOptions(noLocal=True, retainHandling=2))
        client.publish(self._status_topic, ONLINE, qos=0, retain=True)
        self.connected.set()
        self._on_connect()

    def _handle_connect_failure(self, _client: paho.Client, _data: Any) -> None:
        self._short_sessions = 0  # the broker is down: short sessions were not another client's doing
        self._report(connect_problem(sys.exception() or OSError()))

    def _handle_disconnect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        is_unanswered, is_silent = self._waiting_since_s is not None, self._is_silent()
        self._waiting_since_s = None
        if not self.connected.is_set():
            if is_unanswered:
                self._report(SAYS_NOTHING if is_silent else early_end(reason, self._broker))
            return
        self.connected.clear()
        is_short = time.monotonic() - self._connected_s < SHORT_SESSION_S
        self._short_sessions = self._short_sessions + 1 if is_short else 0
        # Few brokers name the reason when a client with the same id connects.
        is_taken_over = self._short_sessions >= self._max_short_sessions or reason.getName() == "Session taken over"
        client.reconnect_delay_set(MAX_RECONNECT_S if is_taken_over else 1, MAX_RECONNECT_S)
        if is_taken_over:
            self._report(TAKES_OVER)
        elif reason.is_failure and self._problem != NO_ACKNOWLEDGEMENT:
            self._report(f"closed the connection ({reason_text(reason, properties)})")

    def _handle_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic != self._own_topic:
            self._on_message(message.topic, bytes(message.payload), message.retain)
        elif not message.retain:
            self._clash_s = time.monotonic()
            self._report(NAME_CLASH)

    def _handle_acknowledgement(
        self, _client: Any, _data: Any, id_: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = id_
            self._report(f"{REFUSES_EVENTS} ({reason_text(reason, properties)}): check its access rules")

    def _report(self, problem: str) -> None:
        """Log a problem when it begins, not again while it lasts."""
        if self._closing.is_set():
            return
        self._problem = problem
        if problem != self._logged:
            self._logged = problem
            log.warning("MQTT broker %s %s%s", self._address, problem, "" if problem == NAME_CLASH else WILL_RETRY)


def machine_hash() -> str:
    """Return six letters that identify this machine: many Pis are called raspberrypi."""
    try:
        identity = MACHINE_ID.read_text()
    except OSError:
        identity = socket.gethostname()
    return hashlib.sha256(f"fireseg-edge {identity}".encode()).hexdigest()[:6]


def slug(name: str) -> str:
    """Return the name as part of a topic or id: a-z, 0-9, - and _.

    If that changes the name, a hash is appended so that two names stay distinct: "the-stove-fe3c4b" for "the stove".
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    return plain if plain == name else f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
