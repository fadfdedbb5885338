"""A real MQTT broker that is killed, and a listener that counts what arrives."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.soak.camera import free_port, wait_for_port
from edge.errors import UserError

PLACES = ("/usr/sbin", "/usr/local/sbin")  # where Debian and others put it, outside of a user's path
SESSION_S = 3600
# What arrived is on the disk before the next message: a broker that forgets is not what is tried here.
SETTINGS = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
"""

Key = tuple[str, str]  # id and kind of an event


class Broker:
    """Mosquitto on a port of its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or next(
            (found for place in PLACES if (found := shutil.which("mosquitto", path=place))), None
        )
        if program is None:
            raise UserError("mosquitto is not installed: the soak needs a broker to kill; apt-get install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # as root, mosquitto becomes a user of its own
        self.port = free_port()
        settings = folder / "mosquitto.conf"
        settings.write_text(SETTINGS.format(port=self.port, folder=folder))
        self._command = [program, "-c", str(settings)]
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
    """Counts events by id and kind, under a session that the broker keeps while either is away."""

    def __init__(self, port: int, topic: str) -> None:
        self.arrived: Counter[Key] = Counter()
        self.order: list[Key] = []
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="soak", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=2)
        self._client.on_message = self._take
        keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        keep.SessionExpiryInterval = SESSION_S
        self._client.connect("127.0.0.1", port, clean_start=False, properties=keep)
        self._client.loop_start()

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        event = json.loads(message.payload)
        with self._lock:
            self.arrived[event["id"], event["kind"]] += 1
            self.order.append((event["id"], event["kind"]))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
