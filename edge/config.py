"""The configuration: every key of a table is one field with its default, its bounds and a description.

Standard-library TOML and dataclasses: no dependency, and `fireseg-edge config init` documents each key by the
definition that validates it. [alarm] and [detection] are in `edge.detection`, `alarm.py` and `views.py`.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edge.addresses import add_login, check_host, check_source, check_topic, check_url
from edge.camera import CAMERA_KINDS, CAMERA_NAMES
from edge.camera.capture import Replay
from edge.config_schema import PathKind, field, read_section, read_toml, show, unknown_key
from edge.detection.alarm import AlarmRules
from edge.detection.views import DetectionSettings
from edge.detection.zones import Point, Zone, ZoneMap
from edge.errors import UserError, UserErrors
from edge.model.shipped import DEFAULT_MODEL, SHIPPED, find_model
from edge.secrets import MQTT_PASSWORD, MQTT_USER, SOURCE_LOGIN, WEB_PASSWORD, WEBHOOK_LOGIN, WEBHOOK_SECRET

LOOPBACK = "127.0.0.1"
MAX_NAME = 100
MAX_AREAS = 100  # zones, and ignored areas: each takes memory, and time of every frame
CHECK_GRID = 224  # cells per side of the grid on which zones are validated before a model is loaded
_OVERRIDES = "; overridden by the environment variable"

FLAGS = {"address": "source", "path": "model", "folder": "clips", "listen": "web", "host": "mqtt", "url": "webhook"}
"""Options of `run` that are not named like their key."""

Overrides = Mapping[str, Mapping[str, Any]]  # values by table and key, from command-line options


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
class ClipsSection:
    folder: str = field("", 'Where images and clips of fires go, such as "events"; empty for none.', path="written")
    before_s: float = field(5.0, "A clip begins this many seconds before the alarm.", low=0, high=30)
    after_s: float = field(10.0, "A clip ends this many seconds after the alarm.", low=0, high=60)
    max_mb: float = field(500.0, "Size limit of the folder in megabytes; the oldest files go first.", low=1, high=1e6)
    max_days: float = field(30.0, "Age limit of images and clips in days.", low=0.01, high=36_500)


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
        True, "Take actions from NAME/command, such as a snooze. Whoever may publish there can silence the camera."
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
    ends: bool = field(True, "Also notify when a fire or a camera problem ends.")
    min_interval_s: float = field(
        60.0,
        "Least time in seconds between two starts of a zone or camera problem; one that outlasts it is sent then.",
        low=0,
        high=86400,
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
class Config:
    """Everything that `fireseg-edge run` can be configured to do: one attribute for each table of the file."""

    source: SourceSection = SourceSection()
    model: ModelSection = ModelSection()
    alarm: AlarmRules = AlarmRules()  # noqa: RUF009 (frozen)
    detection: DetectionSettings = DetectionSettings()  # noqa: RUF009 (frozen)
    loop: LoopSection = LoopSection()
    clips: ClipsSection = ClipsSection()
    web: WebSection = WebSection()
    mqtt: MqttSection = MqttSection()
    webhook: WebhookSection = WebhookSection()
    notify: NotifySection = NotifySection()
    spool: SpoolSection = SpoolSection()
    zones: tuple[Zone, ...] = ()
    ignored: tuple[tuple[Point, ...], ...] = ()

    def files(self, kind: PathKind) -> list[Path]:
        """Return the paths that are set, of one kind, in the order of the file."""
        sections = (getattr(self, name) for name in SECTIONS)
        keys = ((section, key) for section in sections for key in fields(section) if key.metadata["path"] == kind)
        return [Path(value) for section, key in keys if (value := getattr(section, key.name))]


SECTIONS: dict[str, Any] = {key.name: type(key.default) for key in fields(Config) if key.default != ()}
"""The dataclass of each table, by its name."""


def load_config(path: Path | None, overrides: Overrides | None = None) -> Config:
    """Return the configuration in a file, or the defaults; `overrides` that are not None take precedence.

    Raises `UserError` with one line for each mistake.
    """
    errors: list[str] = []
    config = _read_config(path, errors) if path else Config()
    for name, options in (overrides or {}).items():
        values = {key: value for key, value in options.items() if value is not None}
        mistakes: list[str] = []
        section = read_section(SECTIONS[name], values, "", mistakes)
        for key, _, rest in (mistake.strip().partition(" = ") for mistake in mistakes):
            errors.append(f"--{FLAGS.get(key, key.replace('_', '-'))} {rest}")
        changed = {key: getattr(section, key) for key in values}
        config = replace(config, **{name: replace(getattr(config, name), **changed)})
    if not errors:
        errors += [f"{path}: {error}" if path else error for error in _contradictions(config)]
    if errors:
        raise UserErrors(errors)
    return config


def _read_config(path: Path, errors: list[str]) -> Config:
    tables = read_toml(path)
    known = (*SECTIONS, "zones", "ignored")
    errors += [unknown_key(name, str(path), known) for name in tables if name not in known]
    sections = {
        name: read_section(kind, tables.get(name, {}), f"{path}: [{name}]", errors, folder=path.parent)
        for name, kind in SECTIONS.items()
    }
    zones = tuple(Zone(*area) for area in _areas(tables, "zones", ("name", "polygon"), path, errors))
    ignored = tuple(polygon for _, polygon in _areas(tables, "ignored", ("polygon",), path, errors))
    return Config(**sections, zones=zones, ignored=ignored)


def _areas(
    tables: dict[str, Any], kind: str, keys: tuple[str, ...], path: Path, errors: list[str]
) -> Iterator[tuple[str, tuple[Point, ...]]]:
    """Yield name and polygon of each [[zones]] or [[ignored]] table."""
    areas = tables.get(kind, [])
    if not isinstance(areas, list) or not all(isinstance(area, dict) for area in areas):
        errors.append(f"{path}: {kind} is {show(areas)}: expected [[{kind}]] tables")
        return
    if len(areas) > MAX_AREAS:
        errors.append(f"{path}: {len(areas)} [[{kind}]] tables: expected at most {MAX_AREAS}")
        return
    for area in areas:
        unknown = [key for key in area if key not in keys]
        name, corners, where = area.get("name"), area.get("polygon"), f"{path}: [[{kind}]]"
        if "name" in keys:
            if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
                remedy = f'expected a name, such as name = "stove", at most {MAX_NAME} letters, no control characters'
                if name is not None or not unknown:  # not just misspelt
                    errors.append(f"{where} name = {show(name)}: {remedy}")
                name = "?"
            where += f" {name}:"
        errors += [unknown_key(key, where, keys) for key in unknown]
        if corners is None and unknown:
            continue
        try:
            yield name, tuple((float(x), float(y)) for x, y in corners)
        except (TypeError, ValueError, OverflowError):
            errors.append(f"{where} polygon = {show(corners)}: expected corners, such as [[0.1, 0.4], [0.5, 0.4], …]")


def _contradictions(config: Config) -> list[str]:
    """Return the mistakes between keys that are valid by themselves."""
    alarm, errors = config.alarm, []
    if alarm.on_results > alarm.of_results:
        errors.append(
            f"[alarm] on_results {alarm.on_results} is above of_results {alarm.of_results}: expected at most of_results"
        )
    if alarm.memory_s < max(alarm.on_s, 1):
        errors.append(
            f"[alarm] memory_s {alarm.memory_s:g} is too short for an alarm: expected at least 1, and at least on_s"
        )
    try:
        ZoneMap(config.zones, config.ignored, CHECK_GRID, CHECK_GRID)
    except UserError as error:
        errors += error.lines
    return errors
