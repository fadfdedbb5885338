"""The one configuration file: what it may say, reading it, and the documented file to begin with.

TOML from the standard library and dataclasses: nothing to install, and `fireseg-edge config init` documents each key by
the very definition that checks it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.alarm import Rules
from edge.capture import Replay
from edge.errors import UserError
from edge.settings import documented, read_section, setting, show, unknown_key
from edge.sources import KINDS
from edge.zones import Point, Zone, ZoneMap

DEFAULT_MODEL = "models/fireseg-base-int8.tflite"
CHECK_GRID = 224
"""Zones are tried on a grid of this many cells a side before a model is there to say its own."""


@dataclass(frozen=True)
class SourceSection:
    address: str = setting("picamera2", f"Where frames come from: {KINDS}.")
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
    stall_s: float = setting(10.0, "A camera without a frame for so many seconds is opened anew.", low=0.5)
    reconnect_limit: int = setting(
        0, "How many failures of a camera in a row to take before giving up; 0 for any number.", low=0
    )


@dataclass(frozen=True)
class ModelSection:
    path: str = setting(DEFAULT_MODEL, "The .tflite model.")
    threads: int = setting(0, "Cores to compute on; 0 for all.", low=0)


@dataclass(frozen=True)
class LoopSection:
    max_fps: float = setting(
        10.0, "At most so many results a second; 0 for as many as the machine gives. An alarm needs no more.", low=0
    )
    spare_heat: bool = setting(
        True, "Whether to halve the rate while the machine is too hot or throttled, down to one result a second."
    )


@dataclass(frozen=True)
class ClipsSection:
    folder: str = setting("", 'Where pictures and clips of fires are kept, such as "events"; empty for nowhere.')
    before_s: float = setting(5.0, "A clip begins so many seconds before the alarm.", low=0, high=30)
    after_s: float = setting(10.0, "A clip ends so many seconds after the alarm.", low=0, high=60)
    max_mb: float = setting(500.0, "The folder holds at most so many megabytes; the oldest go first.", low=1)
    max_days: float = setting(30.0, "Pictures and clips are kept so many days.", low=0.01)


# Every table of the file but the lists of zones, by its name.
SECTIONS: dict[str, type] = {
    "source": SourceSection,
    "model": ModelSection,
    "alarm": Rules,
    "loop": LoopSection,
    "clips": ClipsSection,
}

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
    alarm: Rules = field(default_factory=Rules)
    loop: LoopSection = field(default_factory=LoopSection)
    clips: ClipsSection = field(default_factory=ClipsSection)
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
        raise UserError(*errors)
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """Raises `UserError` where the file is not there or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"configuration {path} could not be read ({error.strerror}): check the path, or write one with "
            "`fireseg-edge config init`"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"configuration {path} is no text in UTF-8: save it as such") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"configuration {path} is not TOML ({error}): mend it there") from error


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
    if "path" in tables.get("model", {}):
        config = replace(config, model=replace(config.model, path=str(folder / config.model.path)))
    if config.clips.folder:
        config = replace(config, clips=replace(config.clips, folder=str(folder / config.clips.folder)))
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
        found += error.args
    return found
