"""The one configuration file: what it may say, reading it, and the documented file to begin with.

TOML from the standard library and dataclasses: nothing to install, and `fireseg-edge config init` documents each key by
the very definition that checks it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.config_schema import documented, read_section, show, unknown_key
from edge.detection.alarm import AlarmRules
from edge.detection.zones import Point, Zone, ZoneMap
from edge.errors import UserError, UserErrors
from edge.sections import (
    ClipsSection,
    LoopSection,
    ModelSection,
    MqttSection,
    SourceSection,
    SpoolSection,
    WebhookSection,
    WebSection,
)

CHECK_GRID = 224
"""Zones are tried on a grid of this many cells a side before a model is there to say its own."""


# Every table of the file but the lists of zones, by its name.
SECTIONS: dict[str, type] = {
    "source": SourceSection,
    "model": ModelSection,
    "alarm": AlarmRules,
    "loop": LoopSection,
    "clips": ClipsSection,
    "web": WebSection,
    "mqtt": MqttSection,
    "webhook": WebhookSection,
    "spool": SpoolSection,
}
# The keys that name files and folders.
FILES = (
    ("model", "path"),
    ("clips", "folder"),
    ("web", "password_file"),
    ("mqtt", "ca_file"),
    ("mqtt", "password_file"),
    ("webhook", "secret_file"),
    ("spool", "folder"),
)

SECRET_FILES = (
    ("web", "password_file"),
    ("mqtt", "ca_file"),
    ("mqtt", "password_file"),
    ("webhook", "secret_file"),
)

ZONES_TEXT = """\
# Zones are watched each by itself; without any, the whole frame is one. The corners are fractions of the frame, [x, y]
# from the top left.
#[[zones]]
#name = "stove"
#polygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9], [0.1, 0.9]]

# Areas in which nothing ever burns, such as a television.
#[[ignored]]
#polygon = [[0.8, 0.0], [1.0, 0.0], [1.0, 0.3], [0.8, 0.3]]
"""
HEADER = """\
# The configuration of `fireseg-edge run --config THIS-FILE`. Options of the command go before what stands here; what is
# commented out is the default. Paths are seen from this file's folder. `fireseg-edge config check THIS-FILE` checks it,
# and `kill -HUP` lets a running one read it anew.
#
# Not a life-safety device: never rely on it in place of a smoke alarm.
"""


@dataclass(frozen=True)
class Config:
    """All that a run is told."""

    source: SourceSection = field(default_factory=SourceSection)
    model: ModelSection = field(default_factory=ModelSection)
    alarm: AlarmRules = field(default_factory=AlarmRules)
    loop: LoopSection = field(default_factory=LoopSection)
    clips: ClipsSection = field(default_factory=ClipsSection)
    web: WebSection = field(default_factory=WebSection)
    mqtt: MqttSection = field(default_factory=MqttSection)
    webhook: WebhookSection = field(default_factory=WebhookSection)
    spool: SpoolSection = field(default_factory=SpoolSection)
    zones: tuple[Zone, ...] = ()
    ignored: tuple[tuple[Point, ...], ...] = ()


Overrides = Mapping[str, Mapping[str, Any]]  # values by section and key, as flags give them


def load_config(path: Path | None, overrides: Overrides | None = None) -> Config:
    """What the file says, else the defaults; `overrides` go before both. Raises `UserError`, one line a mistake."""
    errors: list[str] = []
    tables = read_toml(path) if path else {}
    config = _from_tables(tables, "the configuration" if path is None else str(path), errors)
    for name, values in (overrides or {}).items():
        given: Any = read_section(SECTIONS[name], values, "the option for", errors)
        section = replace(getattr(config, name), **{key: getattr(given, key) for key in values})
        config = replace(config, **{name: section})
    if not errors:
        errors += _contradictions(config)
    if errors:
        raise UserErrors(errors)
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """Raises `UserError` where the file is not there or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"configuration {path} could not be read ({error.strerror})",
            "check the path, or write one with `fireseg-edge config init`",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"configuration {path} is no text in UTF-8", "save it as such") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"configuration {path} is not TOML ({error})", "mend it there") from error


def documented_config() -> str:
    """The text of a configuration file that changes nothing and explains everything."""
    sections = [documented(kind, name) for name, kind in SECTIONS.items()]
    return "\n".join([HEADER, *sections, ZONES_TEXT])


def _from_tables(tables: dict[str, Any], file: str, errors: list[str]) -> Config:
    known = (*SECTIONS, "zones", "ignored")
    errors += [unknown_key(name, file, known) for name in tables if name not in known]
    read: dict[str, Any] = {
        name: read_section(kind, tables.get(name, {}), f"{file}: [{name}]", errors) for name, kind in SECTIONS.items()
    }
    zones = [_zone(table, f"{file}: [[zones]]", errors) for table in _list(tables, "zones", file, errors)]
    ignored = [
        _polygon(table, ("polygon",), f"{file}: [[ignored]]", errors)
        for table in _list(tables, "ignored", file, errors)
    ]
    config = Config(**read, zones=tuple(zones), ignored=tuple(ignored))
    return _seen_from(Path(file).parent, config, tables) if tables else config


def _seen_from(folder: Path, config: Config, tables: dict[str, Any]) -> Config:
    """The same with the file's own paths made relative to its folder: a service runs elsewhere."""
    for name, key in FILES:
        section = getattr(config, name)
        if getattr(section, key) and key in tables.get(name, {}):
            seen = replace(section, **{key: str(folder / getattr(section, key))})
            config = replace(config, **{name: seen})
    address = config.source.address
    if "address" in tables.get("source", {}) and (folder / address).exists():
        config = replace(config, source=replace(config.source, address=str(folder / address)))
    return config


def _list(tables: dict[str, Any], name: str, file: str, errors: list[str]) -> list[Any]:
    value = tables.get(name, [])
    if isinstance(value, list):
        return value
    errors.append(f"{file}: {name} is {show(value)}: expected [[{name}]] tables")
    return []


def _zone(table: Any, where: str, errors: list[str]) -> Zone:
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or not name.strip():
        errors.append(f'{where} name = {show(name)}: expected a name, such as name = "stove"')
        name = "?"
    return Zone(name, _polygon(table, ("name", "polygon"), f"{where} {name}:", errors))


def _polygon(table: Any, known: tuple[str, ...], where: str, errors: list[str]) -> tuple[Point, ...]:
    table = table if isinstance(table, dict) else {}
    errors += [unknown_key(key, where, known) for key in table if key not in known]
    corners: Any = table.get("polygon")
    try:
        return tuple((float(x), float(y)) for x, y in corners)
    except (TypeError, ValueError):
        errors.append(
            f"{where} polygon = {show(corners)}: expected corners, such as [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]"
        )
        return ()


def _contradictions(config: Config) -> list[str]:
    """What is wrong between keys that are right by themselves."""
    alarm, found = config.alarm, []
    if alarm.off_share > alarm.on_share:
        found.append(f"[alarm] off_share {alarm.off_share:g} is above on_share {alarm.on_share:g}: expected it below")
    if alarm.on_results > alarm.of_results:
        found.append(f"[alarm] on_results {alarm.on_results} is more than of_results {alarm.of_results}: expected less")
    try:
        ZoneMap(config.zones, config.ignored, CHECK_GRID, CHECK_GRID)
    except UserError as error:
        found += error.lines
    if config.web.listen:
        from edge.sinks.web.auth import parse_listen

        try:
            parse_listen(config.web.listen)
        except UserError as error:
            found += error.lines
    found += _unreachable(config)
    return found


def _unreachable(config: Config) -> list[str]:
    """What is wrong with addresses and with the files of secrets."""
    found = []
    mqtt = config.mqtt
    if mqtt.host and not _is_host(mqtt.host):
        found.append(
            f"[mqtt] host = {show(mqtt.host)}: expected a name or an address alone, such as "
            '"broker.local"; the port has a key of its own'
        )
    for key, value in (("topic", mqtt.topic), ("discovery", mqtt.discovery)):
        if not re.fullmatch(r"[^#+/]+(/[^#+/]+)*", value) and (value or key == "topic"):
            found.append(f'[mqtt] {key} = {show(value)}: expected a topic without # and +, such as "fireseg"')
    if config.webhook.url:
        from edge.sinks.webhook import check_url

        try:
            check_url(config.webhook.url)
        except UserError as error:
            found += error.lines
    for name, key in SECRET_FILES:
        path = getattr(getattr(config, name), key)
        if path and not _may_be_there(Path(path)):
            found.append(f"[{name}] {key} = {show(path)}: expected a file, but there is none")
    return found


def _is_host(text: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", text) is not None


def _may_be_there(path: Path) -> bool:
    """Whether it is, or this user may not know: the service's secrets are not everybody's."""
    try:
        return path.is_file()
    except OSError:
        return True
