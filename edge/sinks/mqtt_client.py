"""The connection to an MQTT broker: kept up for ever, and each event brought over exactly once where that can be.

Events go at QoS 2, one at a time, in a session that the broker keeps while the connection is down (MQTT 5): a message
that was under way when it broke is taken up where it was, neither lost nor doubled. A broker that comes back without
the session has forgotten the message too, and it is sent anew. All else goes at QoS 0, retained: it is told again after
each connection, and an older state can never overtake a newer one.
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
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import MqttSection
from edge.errors import UserError
from edge.secrets import MQTT_PASSWORD, MQTT_USER, read_secret
from edge.sinks.outbox import Delivery

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
PORT, TLS_PORT = 1883, 8883
KEEPALIVE_S = 30
SESSION_S = 0xFFFFFFFF
"""For ever, as MQTT 5 writes it: mosquitto 2.0 takes a session that is to end for ended when it was killed itself."""
LONGEST_WAIT_S = 30
SHORT_S, MANY_DROPS = 4.0, 6
LOOK_S = 0.2
FAREWELL_S = 0.4
ONLINE, OFFLINE = "online", "offline"


@dataclass(frozen=True)
class Address:
    """Where the broker is and how to be let in."""

    host: str
    port: int = 0
    """0 for the usual one."""
    tls: bool = False
    ca_file: str = ""
    """Certificates to check the broker's by; empty for the system's."""
    user: str | None = None
    password: str | None = None

    @property
    def actual_port(self) -> int:
        return self.port or (TLS_PORT if self.tls else PORT)

    def __str__(self) -> str:
        return f"{self.host}:{self.actual_port}"


def broker_address(told: MqttSection) -> Address:
    """As configured, with the secrets from where they are kept. Raises `UserError`."""
    user = os.environ.get(MQTT_USER) or told.user or None
    password = read_secret(MQTT_PASSWORD, told.password_file)
    return Address(told.host, told.port, told.tls, told.ca_file, user, password)


class Link:
    """One client of one broker.

    Args:
        address: of the broker.
        name: what tells this camera from others; part of the client's id.
        status_topic: says online while the link is up, and offline, by the broker, when it is not.
        listen: topics to hear; `on_message` is called with each message's topic and payload, in the link's thread.
        on_up: called after each connection, in the link's thread, to tell all that is retained.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        *,
        status_topic: str,
        on_up: Callable[[], None],
        listen: Sequence[str] = (),
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
    ) -> None:
        self._address = address
        self._name = name
        self._status_topic = status_topic
        self._listen = listen
        self._on_up = on_up
        self._on_message = on_message
        self._changed = threading.Condition()
        self._up = False
        self._up_s = 0.0
        self._drops = 0
        """How many connections in a row lived no longer than `SHORT_S`."""
        self._said = ""
        """The last trouble that was logged."""
        self._in_flight: int | None = None
        self._arrived: deque[int] = deque(maxlen=64)
        """The last messages that the broker has, of any kind."""
        self._forgotten = False
        """Whether the broker came back without the session that a message was under way in."""
        self._client = self._connect()

    @property
    def up(self) -> bool:
        return self._up

    def tell(self, topic: str, payload: str | bytes) -> None:
        """Publish what is retained, if the broker is there now; it is told again after each connection."""
        if self._up:
            self._client.publish(topic, payload, qos=0, retain=True)

    def deliver(self, topic: str, payload: bytes, stop: threading.Event) -> Delivery:
        """Bring one event over; comes back when the broker has it for good, or soon after `stop` is set."""
        while not stop.is_set():
            with self._changed:
                if not self._changed.wait_for(lambda: self._up, LOOK_S):
                    continue
                # Outside of the lock, which paho's thread takes to tell us of messages: it holds its own then.
                client, self._forgotten = self._client, False
            mid = client.publish(topic, payload, qos=2).mid
            if self._arrives(mid, stop):
                return Delivery.DELIVERED
            if not stop.is_set():
                self._begin_anew()
        return Delivery.RETRY

    def _arrives(self, mid: int, stop: threading.Event) -> bool:
        """Wait for the end of a message's handshake; False where the broker forgot it, or we stop."""
        with self._changed:
            self._in_flight = mid
            while not (self._forgotten or mid in self._arrived or stop.is_set()):
                self._changed.wait(LOOK_S)
            if stop.is_set():
                self._changed.wait_for(lambda: mid in self._arrived, FAREWELL_S)
            arrived = mid in self._arrived
            self._in_flight = None
        return arrived

    def close(self) -> None:
        """Say goodbye, where anybody listens."""
        if self._up:
            with suppress(RuntimeError, ValueError):  # it went away at this very moment
                self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True).wait_for_publish(FAREWELL_S)
        self._client.disconnect()  # and no waiting for paho's thread, which may be in the middle of connecting

    def _connect(self) -> paho.Client:
        client = make_client(self._address, f"fireseg-{self._name}-{machine_mark()}")
        client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, LONGEST_WAIT_S)
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect, client.on_publish = self._disconnected, self._published
        client.on_message = lambda _client, _data, message: self._on_message(message.topic, bytes(message.payload))
        client.suppress_exceptions = True
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        keep.SessionExpiryInterval = SESSION_S
        client.connect_async(
            self._address.host,
            self._address.actual_port,
            KEEPALIVE_S,
            clean_start=paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=keep,
        )
        client.loop_start()
        return client

    def _begin_anew(self) -> None:
        """Another client, that knows nothing of the message under way."""
        self._client.disconnect()
        self._client.loop_stop()
        with self._changed:
            self._arrived.clear()  # the next client counts its messages from 1 again
        self._client = self._connect()

    # Paho's thread.

    def _connected(
        self, client: paho.Client, _data: Any, flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._say(f"refuses ({reason}): check [mqtt] user and password")
            return
        with self._changed:
            if self._in_flight is not None and not flags.session_present:
                self._forgotten = True
                client.disconnect()  # before paho sends the rest of a handshake that the broker knows nothing of
                self._changed.notify_all()
                return
            self._up = True
        self._up_s = time.monotonic()
        if not self._drops:
            log.info("MQTT broker %s: connected", self._address)
            self._said = ""
        for topic in self._listen:
            client.subscribe(topic)
        client.publish(self._status_topic, ONLINE, qos=0, retain=True)
        self._on_up()
        with self._changed:
            self._changed.notify_all()

    def _failed(self, client: paho.Client, _data: Any) -> None:
        self._drops = 0  # a broker that comes and goes throws nobody out
        client.reconnect_delay_set(1, LONGEST_WAIT_S)
        self._say("cannot be reached")

    def _disconnected(
        self, client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        was_up, self._up = self._up, False
        if not was_up:
            return
        self._drops = self._drops + 1 if time.monotonic() - self._up_s < SHORT_S else 0
        # A client of the same id throws ours out as soon as we are in, and we it; brokers hardly say so.
        thrown_out = self._drops >= MANY_DROPS or reason.getName() == "Session taken over"
        client.reconnect_delay_set(LONGEST_WAIT_S if thrown_out else 1, LONGEST_WAIT_S)
        if thrown_out:
            self._say("drops us again and again: give each run its own [mqtt] name")
        elif reason.is_failure:
            self._say(f"went away ({reason})")

    def _published(self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        with self._changed:
            if not self._forgotten:
                self._arrived.append(mid)
                self._changed.notify_all()

    def _say(self, trouble: str) -> None:
        """Log a trouble, but not each time it is met again."""
        if trouble != self._said:
            self._said = trouble
            log.warning("MQTT broker %s %s; events wait, and it is tried again", self._address, trouble)


def make_client(address: Address, id_: str) -> paho.Client:
    """A client that knows how to be let in, not connected yet. Raises `UserError` for certificates that are none."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=id_, protocol=paho.MQTTv5)
    if address.user or address.password:
        client.username_pw_set(address.user or "", address.password)
    if address.tls:
        try:
            client.tls_set(ca_certs=address.ca_file or None)
        except OSError as error:  # ssl's errors are of this kind too
            raise UserError(
                f"[mqtt] ca_file {address.ca_file} could not be read ({error})", "expected certificates in PEM"
            ) from error
    return client


def machine_mark() -> str:
    """A few letters that tell this machine from others: many Pis are called raspberrypi."""
    try:
        identity = MACHINE_ID.read_text()
    except OSError:
        identity = socket.gethostname()
    return hashlib.sha256(f"fireseg-edge {identity}".encode()).hexdigest()[:6]


def try_broker(address: Address, timeout_s: float) -> str:
    """Connect once. What is wrong; empty where the broker lets us in. Raises `UserError` for bad certificates."""
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
        return "does not answer as a broker would"
    finally:
        client.disconnect()
    return f"refuses ({reason})" if reason.is_failure else ""


def slug(name: str) -> str:
    """A name as part of a topic and of an id: small letters, digits, - and _.

    Where that loses something of the name, its hash is added, so that two names never become one.
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    return plain if plain == name else f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
