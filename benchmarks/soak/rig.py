"""What the soak connects to the process under test: a network camera, an MQTT broker with a listener, page viewers.

The camera and the viewers run as processes: `python -m benchmarks.soak.rig camera|viewers …`.
"""

from __future__ import annotations

import itertools
import json
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.errors import UserError
from edge.images import encode_jpeg

ROOT = Path(__file__).parents[2]
FRAME_SIZE = (640, 480)
DISTINCT_FPS = 15  # distinct frames a second; a faster camera repeats them
CALM_S, FIRE_S = 3.0, 3.0
NOISE = 3  # grey levels of sensor noise
START_WAIT_S = 60.0
MQTT_WAIT_S = 20.0
MOSQUITTO_PATHS = (None, "/usr/sbin", "/usr/local/sbin")
SESSION_S = 0xFFFFFFFF  # never expires: mosquitto 2.0 drops sessions with a shorter expiry when it is killed
PERSISTENCE = """\
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
"""
LIVE_PATH = "/live.mjpeg"
CHUNK_BYTES = 1 << 16

BOMB_SIDE = 30_000
HEADER_CHUNK = b"x" * CHUNK_BYTES

Key = tuple[str, int]  # id and number of an event
Content = Literal["calm", "fire", "bomb", "endless"]
"""No fire; calm and fire in turn; pictures whose header states 30000x30000 px; a header line without an end."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the condition holds. Return False after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def wait_for_port(port: int) -> None:
    """Wait for a listener on a local port. Raise TimeoutError after a minute."""

    def accepts() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    if not wait_until(accepts, START_WAIT_S):
        raise TimeoutError(f"no listener on port {port} after {START_WAIT_S:.0f} s")


class Broker:
    """Mosquitto on a free port, which can be killed and started again.

    Args:
        folder: for its configuration and its database.
        persistent: whether sessions and messages survive a kill.
        settings: further lines of its configuration.
    Raises `UserError` if mosquitto is not installed.
    """

    def __init__(self, folder: Path, *, persistent: bool = True, settings: str = "allow_anonymous true") -> None:
        program = next(filter(None, (shutil.which("mosquitto", path=path) for path in MOSQUITTO_PATHS)), None)
        if program is None:
            raise UserError("mosquitto is not installed", "run apt-get install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # started as root, mosquitto changes to its own user
        self.port = free_port()
        path = folder / "mosquitto.conf"
        persistence = PERSISTENCE.format(folder=folder) if persistent else ""
        path.write_text(f"listener {self.port} 127.0.0.1\n{persistence}{settings}\n")
        self._command = [program, "-c", str(path)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)

    def kill(self) -> None:
        """Send SIGKILL, like a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def temporary_broker() -> Iterator[tuple[Path, Broker]]:
    """Yield a temporary folder and a broker in it. Raise `UserError` if mosquitto is not installed."""
    with tempfile.TemporaryDirectory(prefix="fireseg-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started as root, mosquitto changes to its own user
        broker = Broker(folder / "broker")
        try:
            yield folder, broker
        finally:
            broker.kill()


class Listener:
    """Records every message, in order, in a session that survives both ends' restarts."""

    def __init__(
        self,
        port: int,
        *,
        name: str = "listener",
        login: tuple[str, str] | None = None,
        ca_file: str = "",
        qos: int = 2,
    ) -> None:
        self.messages: list[tuple[str, bytes]] = []
        """Topics and payloads."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(*login)
        if ca_file:
            self._client.tls_set(ca_certs=ca_file)
        self._subscribed = threading.Event()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=qos)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _, __, message: self.record(message)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = SESSION_S
        self._client.connect("127.0.0.1", port, clean_start=False, properties=session)
        self._client.loop_start()
        self.wait_until_listening()

    def wait_until_listening(self) -> None:
        """Wait for the subscription. Raise TimeoutError after 20 s."""
        if not self._subscribed.wait(MQTT_WAIT_S):
            raise TimeoutError("the broker accepts no subscription")

    def wait_until_cut_off(self) -> None:
        """Wait until the client notices that the broker is gone. Raise TimeoutError after 20 s."""
        if not wait_until(lambda: not self._subscribed.is_set(), MQTT_WAIT_S):
            raise TimeoutError("the broker is still connected")

    def record(self, message: paho.MQTTMessage) -> None:
        """Keep a message; called in the client's thread."""
        self.messages.append((message.topic, bytes(message.payload)))

    def payloads(self, suffix: str) -> list[bytes]:
        """Return the payloads of all topics with this suffix."""
        return [payload for topic, payload in list(self.messages) if topic.endswith(suffix)]

    @property
    def events(self) -> list[Key]:
        return [key_of(json.loads(payload)) for payload in self.payloads("/event")]

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload).wait_for_publish(MQTT_WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def key_of(event: dict[str, Any]) -> Key:
    return event["id"], event["number"]


@contextmanager
def _rig_process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.soak.rig", *arguments], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def camera(*, fps: float, content: Content, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start an MJPEG camera; yield its address and its process."""
    port = port or free_port()
    with _rig_process("camera", str(port), str(fps), content) as process:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/live", process


def viewers(address: str, count: int) -> AbstractContextManager[object]:
    """Start `count` viewers of a live page, in one process. They wait until the page is served."""
    return _rig_process("viewers", address, str(count))


class MjpegHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    jpegs: ClassVar[list[bytes]]
    fps: ClassVar[float]
    endless: ClassVar[bool]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        start_s = time.monotonic()
        with suppress(OSError):  # the client disconnected
            if self.endless:
                self.wfile.write(b"--frame\r\nX: ")
            while self.endless:
                self.wfile.write(HEADER_CHUNK)
            for number in itertools.count():
                time.sleep(max(0.0, start_s + number / self.fps - time.monotonic()))
                # Indexed by the clock: a restarted camera continues its schedule.
                jpeg = self.jpegs[int(time.monotonic() * DISTINCT_FPS) % len(self.jpegs)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                self.wfile.write(head + jpeg + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


def schedule(*, fire: bool) -> list[bytes]:
    """Return the JPEGs of one period, compressed in advance so that the camera costs next to no time."""
    pattern, rng = PatternCamera(fps=DISTINCT_FPS), np.random.default_rng(0)
    times_s = [0.0] * round(CALM_S * DISTINCT_FPS)
    if fire:
        times_s += [FLAMES_FROM_S + number / DISTINCT_FPS for number in range(round(FIRE_S * DISTINCT_FPS))]
    jpegs = []
    for t_s in times_s:
        large = cv2.resize(pattern.frame(t_s), FRAME_SIZE, interpolation=cv2.INTER_LINEAR).astype(np.int16)
        noisy = large + rng.integers(-NOISE, NOISE + 1, large.shape, np.int16)
        jpegs.append(encode_jpeg(np.clip(noisy, 0, 255).astype(np.uint8)))
    return jpegs


def restated(jpeg: bytes, side_px: int) -> bytes:
    """Return a JPEG whose header states another width and height."""
    size_at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:size_at] + 2 * side_px.to_bytes(2, "big") + jpeg[size_at + 4 :]


def serve_camera(port: str, fps: str, content: str) -> None:
    MjpegHandler.jpegs, MjpegHandler.fps = schedule(fire=content == "fire"), float(fps)
    MjpegHandler.endless = content == "endless"
    if content == "bomb":
        MjpegHandler.jpegs = [restated(jpeg, BOMB_SIDE) for jpeg in MjpegHandler.jpegs]
    ThreadingHTTPServer(("127.0.0.1", int(port)), MjpegHandler).serve_forever()


def read_page(address: str, count: str) -> None:
    """Read `count` streams in one thread: many threads would cost more than the viewing."""
    with selectors.DefaultSelector() as selector:
        for _ in range(int(count)):
            response = None
            while response is None:
                try:
                    response = urllib.request.urlopen(address + LIVE_PATH, timeout=5)
                except OSError:
                    time.sleep(0.1)
            selector.register(response.fileno(), selectors.EVENT_READ, response)
        while all(key.data.read1(CHUNK_BYTES) for key, _ in selector.select()):
            pass


if __name__ == "__main__":
    serve_camera(*sys.argv[2:]) if sys.argv[1] == "camera" else read_page(*sys.argv[2:])
