"""The tables of the configuration file: every key with its default, its bounds and its sentence."""

from __future__ import annotations

from dataclasses import dataclass

from edge.camera import CAMERA_KINDS
from edge.camera.capture import Replay
from edge.config_schema import setting

DEFAULT_MODEL = "models/fireseg-base-int8.tflite"


@dataclass(frozen=True)
class SourceSection:
    address: str = setting("picamera2", f"Where frames come from: {CAMERA_KINDS}.")
    replay: str = setting(
        "realtime",
        "How a recording is played: at its own speed, dropping frames as a camera does, or whole.",
        choices=[kind.value for kind in Replay],
    )
    width: int = setting(640, "Width asked of a camera, in pixels; for snapshots and clips.", low=64, high=8192)
    height: int = setting(480, "Height asked of a camera, in pixels.", low=64, high=8192)
    fps: float = setting(
        10.0, "Frames a second asked of a camera, painted, or taken from a folder of pictures.", low=0.01, high=240
    )
    stall_s: float = setting(10.0, "A camera without a frame for so many seconds is opened anew.", low=0.5, high=3600)
    reconnect_limit: int = setting(
        0, "How many failures of a camera in a row to take before giving up; 0 for any number.", low=0, high=1_000_000
    )


@dataclass(frozen=True)
class ModelSection:
    path: str = setting(DEFAULT_MODEL, "The .tflite model.")
    threads: int = setting(0, "Cores to compute on; 0 for all.", low=0, high=256)


@dataclass(frozen=True)
class LoopSection:
    max_fps: float = setting(
        10.0,
        "At most so many results a second; 0 for as many as the machine gives. An alarm needs no more.",
        low=0,
        high=1000,
    )
    slow_when_hot: bool = setting(
        True, "Whether to halve the rate while the machine is too hot or throttled, down to one result a second."
    )


@dataclass(frozen=True)
class ClipsSection:
    folder: str = setting("", 'Where pictures and clips of fires are kept, such as "events"; empty for nowhere.')
    before_s: float = setting(5.0, "A clip begins so many seconds before the alarm.", low=0, high=30)
    after_s: float = setting(10.0, "A clip ends so many seconds after the alarm.", low=0, high=60)
    max_mb: float = setting(500.0, "The folder holds at most so many megabytes; the oldest go first.", low=1, high=1e6)
    max_days: float = setting(30.0, "Pictures and clips are kept so many days.", low=0.01, high=36_500)


@dataclass(frozen=True)
class MqttSection:
    host: str = setting("", "The broker; empty for none.")
    port: int = setting(0, "Its port; 0 for 1883, or 8883 with tls.", low=0, high=65535)
    tls: bool = setting(False, "Whether to encrypt, and to check the broker's certificate.")
    ca_file: str = setting("", "The certificates to check the broker's by; empty for the system's own.")
    user: str = setting("", "The user; the environment's FIRESEG_MQTT_USER goes before it.")
    password_file: str = setting(
        "", "A file that holds the password and nothing else; the environment's FIRESEG_MQTT_PASSWORD goes before it."
    )
    name: str = setting("", "What this camera is called there and in Home Assistant; empty for the host's name.")
    topic: str = setting("fireseg", "Topics begin with this, then the camera's name.")
    discovery: str = setting("homeassistant", "Home Assistant's prefix for discovery; empty not to be found by it.")
    snapshots: bool = setting(True, "Whether to send a picture with each event.")


@dataclass(frozen=True)
class WebhookSection:
    url: str = setting("", "Where each event is posted as JSON; empty for nowhere.")
    secret_file: str = setting(
        "",
        "A file with a secret: posts are then signed by HMAC-SHA256 in the header X-FireSeg-Signature; the "
        "environment's FIRESEG_WEBHOOK_SECRET goes before it.",
    )
    timeout_s: float = setting(10.0, "How long to wait for an answer.", low=0.1, high=300)


@dataclass(frozen=True)
class SpoolSection:
    folder: str = setting(
        "",
        "Where events wait that could not be delivered; empty for the service's state folder, or "
        "~/.local/state/fireseg-edge.",
    )
    max_mb: float = setting(50.0, "It holds at most so many megabytes; the oldest go first.", low=0.1, high=1e6)


@dataclass(frozen=True)
class WebSection:
    listen: str = setting(
        "",
        'Where the web page is served, such as "127.0.0.1:8080"; empty for nowhere. Other machines reach it only '
        "by another address than 127.0.0.1, and that needs a password.",
    )
    password_file: str = setting(
        "", "A file with the page's password; the environment's FIRESEG_WEB_PASSWORD goes before it."
    )
