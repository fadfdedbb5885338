"""A real MQTT broker that can be killed, and a listener that keeps what arrives."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.soak.camera import free_port, wait_for_port
from edge.errors import UserError

PLACES = (None, "/usr/sbin", "/usr/local/sbin")  # Debian and others put it outside of a user's path
SESSION_S = 0xFFFFFFFF  # for ever: mosquitto 2.0 takes a session that would end for ended when it was killed
LONG_S = 20.0
# What arrived is on the disk before the next message.
REMEMBERS = """\
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
"""

Key = tuple[str, int]  # id and number of an event


class Broker:
    """Mosquitto on a port of its own.

    Args:
        remembers: whether sessions and messages outlive a kill.
        settings: further lines of its configuration.
    Raises `UserError` where it is not installed.
    """

    def __init__(self, folder: Path, *, remembers: bool = True, settings: str = "allow_anonymous true") -> None:
        found = (shutil.which("mosquitto", path=place) for place in PLACES)
        program = next((path for path in found if path), None)
        if program is None:
            raise UserError("mosquitto is not installed", "expected a broker to kill; apt-get install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # as root, mosquitto becomes a user of its own
        self.port = free_port()
        path = folder / "mosquitto.conf"
        memory = REMEMBERS.format(folder=folder) if remembers else ""
        path.write_text(f"listener {self.port} 127.0.0.1\n{memory}{settings}\n")
        self._command = [program, "-c", str(path)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Listener:
    """Keeps all that comes by below a topic, in order, in a session that the broker keeps while either is away."""

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        name: str = "listener",
        login: tuple[str, str] | None = None,
        ca_file: str = "",
    ) -> None:
        self.heard: list[tuple[str, bytes]] = []
        """Topics and payloads."""
        self.changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(*login)
        if ca_file:
            self._client.tls_set(ca_certs=ca_file)
        self._subscribed = threading.Event()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=2)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        keep.SessionExpiryInterval = SESSION_S
        self._client.connect("127.0.0.1", port, clean_start=False, properties=keep)
        self._client.loop_start()
        self.wait_until_listening()

    def wait_until_listening(self) -> None:
        """Wait until the broker lets it hear. Raises TimeoutError."""
        if not self._subscribed.wait(LONG_S):
            raise TimeoutError("the broker does not let anybody listen")

    def wait_until_cut_off(self) -> None:
        """Wait until it has noticed that the broker is gone. Raises TimeoutError."""
        gives_up_s = time.monotonic() + LONG_S
        while self._subscribed.is_set():
            if time.monotonic() > gives_up_s:
                raise TimeoutError("the broker is still there")
            time.sleep(0.01)

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self.changed:
            self.heard.append((message.topic, bytes(message.payload)))
            self.changed.notify_all()

    def of(self, ending: str) -> list[bytes]:
        """What came under topics that end so."""
        with self.changed:
            return [payload for topic, payload in self.heard if topic.endswith(ending)]

    @property
    def events(self) -> list[Key]:
        return [key_of(json.loads(payload)) for payload in self.of("/event")]

    def tell(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload).wait_for_publish(LONG_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def key_of(event: dict[str, Any]) -> Key:
    return event["id"], event["number"]
