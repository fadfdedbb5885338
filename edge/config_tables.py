"""The tables of the configuration: each key with default, bounds and description.

[alarm] and [detection] are in `edge/detection/alarm.py` and `views.py`.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.addresses import add_login, check_host, check_open_url, check_source, check_topic, check_url
from edge.camera import CAMERA_KINDS, CAMERA_NAMES
from edge.camera.replay import Replay
from edge.config_schema import field
from edge.control.schedule import Schedule, parse_weekly
from edge.errors import UserError
from edge.model.shipped import DEFAULT_MODEL, SHIPPED, find_model
from edge.secrets import MQTT_PASSWORD, MQTT_USER, SOURCE_LOGIN, WEB_PASSWORD, WEBHOOK_LOGIN, WEBHOOK_SECRET

LOOPBACK = "127.0.0.1"
MAX_DISARM_H, MAX_SNOOZE_MIN = 168.0, 1440.0
_OVERRIDES = "; overridden by the environment variable"


@dataclass(frozen=True)
class Listen:
    """The address where the web page is served."""

    host: str
    port: int
    """0 for any free port."""

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if ipaddress.ip_address(self.host).is_unspecified:  # 0.0.0.0: every address of this machine
            host = f"{socket.gethostname().partition('.')[0]}.local"
        return f"http://{host}:{port}/"


def parse_listen(text: str) -> Listen:
    """Return the address in `127.0.0.1:80`, `[::1]:80`, `localhost:80` or `:80` (loopback). Raises `UserError`."""
    with suppress(ValueError):
        parts = urllib.parse.urlsplit(f"//{text}")
        if parts.netloc == text and not set("@%") & set(text) and parts.port is not None:
            host = parts.hostname if parts.hostname != "localhost" else None
            return Listen(str(ipaddress.ip_address(host or LOOPBACK)), parts.port)
    remedy = 'expected an address and a port, such as "127.0.0.1:8080", or "0.0.0.0:8080" for other machines to reach'
    raise UserError(f'[web] listen = "{text}"', remedy)


@dataclass(frozen=True)
class SourceSection:
    address: str = field(
        "picamera2", f"Where frames come from: {CAMERA_KINDS}.", path="any", names=CAMERA_NAMES, check=check_source
    )
    user: str = field("", f"The user of a network camera{_OVERRIDES} {SOURCE_LOGIN[0]}.")
    password_file: str = field(
        "", f"A file with only the camera's password{_OVERRIDES} {SOURCE_LOGIN[1]}.", path="required"
    )
    replay: str = field(
        Replay.REALTIME.value,
        "How a recording is played: realtime drops frames as a camera does, every-frame processes them all.",
        choices=list(Replay),
    )
    width: int = field(1280, "Requested camera width in pixels; tiles, images and clips use it.", low=64, high=8192)
    height: int = field(720, "Requested camera height in pixels.", low=64, high=8192)
    fps: float = field(10.0, "Frames per second of a camera, the pattern or an image folder.", low=0.01, high=240)
    stall_s: float = field(10.0, "Reopen a camera that sends no frame for this many seconds.", low=0.5, high=3600)
    reconnect_limit: int = field(
        0, "Reconnections in a row without a frame before giving up; 0 for no limit.", low=0, high=1_000_000
    )

    def address_with_login(self) -> str:
        """Return the address of the source with its user and password. Raises `UserError`."""
        return add_login(self.address, SOURCE_LOGIN, self.user, self.password_file)


@dataclass(frozen=True)
class ModelSection:
    path: str = field(
        DEFAULT_MODEL,
        f"The model: {', '.join(map(str, SHIPPED))} (installed with fireseg-edge) or the path of a .tflite file.",
        path="any",
        names="|".join(map(str, SHIPPED)),
    )
    threads: int = field(0, "CPU threads; 0 for all cores.", low=0, high=256)

    @property
    def file(self) -> Path:
        """The file of the model."""
        return find_model(self.path)


@dataclass(frozen=True)
class LoopSection:
    max_fps: float = field(
        10.0, "Results per second at most; 0 for no limit. Alarms need no more than the default.", low=0, high=1000
    )
    slow_when_hot: bool = field(True, "Halve the rate while hot or throttled, down to one result per second.")


@dataclass(frozen=True)
class ArmingSection:
    disarmed: tuple[str, ...] = field(
        (),
        'When the alarm is disarmed each week, in local time, such as ["Mon-Fri 17:00-19:00", "Fri 22:00-02:00"]. '
        "Fires are recorded and shown, but not notified.",
        check=Schedule.parse,
    )
    disarm_h: float = field(12.0, "Hours that disarming lasts by default.", low=0.01, high=MAX_DISARM_H)
    snooze_min: float = field(60.0, "Minutes that a snooze lasts by default.", low=1, high=MAX_SNOOZE_MIN)


@dataclass(frozen=True)
class ClipsSection:
    folder: str = field("", 'Where images and clips of fires go, such as "events"; empty for none.', path="written")
    before_s: float = field(5.0, "A clip begins this many seconds before the alarm.", low=0, high=30)
    after_s: float = field(10.0, "A clip ends this many seconds after the alarm.", low=0, high=60)
    max_mb: float = field(
        500.0,
        "Size limit of the folder in megabytes, apart from fires with a verdict; the oldest files go first.",
        low=1,
        high=1e6,
    )
    max_days: float = field(30.0, "Age limit of images and clips in days.", low=0.01, high=36_500)
    feedback_mb: float = field(
        200.0,
        "Size limit of fires with a verdict, in megabytes; they have no age limit. 0 keeps neither them nor frames for "
        "training.",
        low=0,
        high=1e6,
    )


def check_proxy(text: str) -> None:
    """Raise `UserError` unless the text is empty or an IPv4 address of one machine."""
    with suppress(ValueError):
        if not text or not ipaddress.IPv4Address(text).is_unspecified:
            return
    raise UserError(f'[web] trusted_proxy = "{text}"', 'expected one IPv4 address, such as "172.30.32.2"')


@dataclass(frozen=True)
class WebSection:
    listen: str = field(
        "",
        'Where the web page is served, such as "127.0.0.1:8080"; empty for no page. Other machines cannot reach '
        "127.0.0.1; any other address needs a password.",
        check=parse_listen,
    )
    password_file: str = field(
        "", f"A file with the page's password, of at least 8 characters{_OVERRIDES} {WEB_PASSWORD}.", path="required"
    )
    trusted_proxy: str = field(
        "",
        "Requests from this IPv4 address need no password: it signs users in, as Home Assistant's ingress at "
        "172.30.32.2 does. Without a password, only it can open the page. Empty for none.",
        check=check_proxy,
    )


@dataclass(frozen=True)
class MqttSection:
    host: str = field("", "The MQTT broker; empty for none.", check=check_host)
    port: int = field(0, "The broker's port; 0 for 1883, or 8883 with tls.", low=0, high=65535)
    tls: bool = field(False, "Encrypt the connection and verify the broker's certificate.")
    ca_file: str = field("", "CA certificates to verify the broker; empty for the system's.", path="required")
    user: str = field("", f"The user{_OVERRIDES} {MQTT_USER}.")
    password_file: str = field("", f"A file with only the password{_OVERRIDES} {MQTT_PASSWORD}.", path="required")
    name: str = field(
        "", "Name of this camera in topics and in Home Assistant; empty for the host name and a mark of the machine."
    )
    topic: str = field("fireseg", "Topics begin with this, followed by the name of the camera.", check=check_topic)
    discovery: str = field(
        "homeassistant", "Home Assistant's prefix; empty for none.", check=lambda text: text and check_topic(text)
    )
    snapshots: bool = field(True, "Send an image with each event.")
    commands: bool = field(
        True, "Accept actions from NAME/command, such as a snooze. Anyone who may publish there can silence the camera."
    )


@dataclass(frozen=True)
class WebhookSection:
    url: str = field("", "Where each event is posted as JSON; empty for nowhere.", check=check_url)
    user: str = field("", f"The user, for Basic authentication{_OVERRIDES} {WEBHOOK_LOGIN[0]}.")
    password_file: str = field("", f"A file with only the password{_OVERRIDES} {WEBHOOK_LOGIN[1]}.", path="required")
    secret_file: str = field(
        "",
        "A file with a secret that signs each post by HMAC-SHA256 in the header X-FireSeg-Signature"
        f"{_OVERRIDES} {WEBHOOK_SECRET}.",
        path="required",
    )
    timeout_s: float = field(10.0, "How long a post may take as a whole, in seconds.", low=0.1, high=300)

    def url_with_login(self) -> str:
        """Return the URL with its user and password. Raises `UserError`."""
        return add_login(self.url, WEBHOOK_LOGIN, self.user, self.password_file)


@dataclass(frozen=True)
class NotifySection:
    urls_file: str = field(
        "",
        "A file with one Apprise URL per line, such as ntfys://ntfy.sh/my-topic; empty for no notifications. "
        "Lines that begin with # are comments.",
        path="required",
    )
    picture: bool = field(True, "Attach the frame, with the fire pixels marked.")
    ends: bool = field(True, "Also notify when a fire, a camera problem or a failed update ends.")
    min_interval_s: float = field(
        60.0,
        "Least time in seconds between two starts of a zone or camera problem; one that outlasts it is sent then.",
        low=0,
        high=86400,
    )


@dataclass(frozen=True)
class DrillSection:
    weekly: str = field(
        "",
        'When a fire drill runs each week, such as "Sun 10:00", in local time; empty for none.',
        check=parse_weekly,
    )


@dataclass(frozen=True)
class SpoolSection:
    folder: str = field(
        "",
        "Where undelivered events wait; empty for the state folder of the service, or ~/.local/state/fireseg-edge.",
        path="written",
    )
    max_mb: float = field(
        50.0, "Size limit of the events for one receiver, in megabytes; the oldest go first.", low=0.1, high=1e6
    )


@dataclass(frozen=True)
class UpdateSection:
    url: str = field(
        "",
        "A repository of models, written by `fireseg-export publish`, from which `fireseg-edge update` fetches; empty "
        "for no updates. It cannot contain a user and password.",
        check=check_open_url,
    )
    root: str = field(
        "", "The root.json of that repository, which names the keys that this machine trusts.", path="required"
    )
    model: str = field(
        "", "The name of the model in the repository, such as base or small; empty for that of [model] path."
    )
    folder: str = field(
        "",
        "Where updated models are kept; empty for the state folder of the service, or ~/.local/state/fireseg-edge.",
        path="written",
    )
    watch_s: float = field(
        600.0, "Seconds for which a new model is watched in the run before it is adopted.", low=5, high=86400
    )
    max_slower: float = field(
        1.5, "A new model may take at most this many times as long per pass as the old one.", low=1, high=20
    )
    max_marked: float = field(
        0.05,
        "A new model may detect fire in at most this fraction of the frames without an alarm, unless the old one "
        "detects it as often.",
        low=0,
        high=1,
    )
