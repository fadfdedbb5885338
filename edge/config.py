"""Read and validate the configuration file, and write its documented template.

Standard-library TOML and dataclasses: no dependency, and the template documents each key by the definition that
validates it (`edge.config_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.config_schema import read_section, read_toml, section_template, show, unknown_key
from edge.config_tables import (
    DEFAULT_MODEL,
    LOOPBACK,
    SECTIONS,
    ClipsSection,
    Config,
    Listen,
    MqttSection,
    check_url,
    parse_listen,
)
from edge.detection.zones import Point, Zone, ZoneMap
from edge.errors import UserError, UserErrors

__all__ = [
    "DEFAULT_MODEL", "LOOPBACK", "SECTIONS", "ClipsSection", "Config", "Listen", "MqttSection", "Overrides",
    "check_url", "documented_config", "load_config", "parse_listen",
]  # fmt: skip

CHECK_GRID = 224
"""Side of the grid on which zones are validated before a model is loaded, in cells."""

HEADER = """\
# Configuration of `fireseg-edge run --config THIS-FILE`. Command-line options override this file. Commented lines show
# defaults. Relative paths start at this file's directory. `fireseg-edge config check THIS-FILE` checks the file, and
# `kill -HUP` makes a running process reload it.
#
# Not a life-safety device: never rely on it in place of a smoke alarm.
"""
ZONES_TEXT = """\
# Each zone has its own alarm; without zones the whole frame is one. Corners are fractions of the frame, [x, y] from the
# top left.
#[[zones]]
#name = "stove"
#polygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9], [0.1, 0.9]]

# Areas where fire never counts, such as a television.
#[[ignored]]
#polygon = [[0.8, 0.0], [1.0, 0.0], [1.0, 0.3], [0.8, 0.3]]
"""

Overrides = Mapping[str, Mapping[str, Any]]  # values by table and key, from command-line options


def load_config(path: Path | None, overrides: Overrides | None = None) -> Config:
    """Return the configuration in a file, or the defaults; `overrides` take precedence.

    Raises `UserError` with one line for each mistake.

    Example:
        >>> config = load_config(Path("fireseg.toml"), {"source": {"address": "test-pattern"}})
        >>> config.alarm.on_results
        5
    """
    errors: list[str] = []
    config = _read_config(path, errors) if path else Config()
    for name, values in (overrides or {}).items():
        section = read_section(SECTIONS[name], values, "the option for", errors)
        changed = {key: getattr(section, key) for key in values}
        config = replace(config, **{name: replace(getattr(config, name), **changed)})
    if not errors:
        errors += _contradictions(config)
    if errors:
        raise UserErrors(errors)
    return config


def documented_config() -> str:
    """Return the text of a configuration file that documents every key and changes nothing."""
    return "\n".join([HEADER, *(section_template(kind, name) for name, kind in SECTIONS.items()), ZONES_TEXT])


def _read_config(path: Path, errors: list[str]) -> Config:
    tables = read_toml(path)
    known = (*SECTIONS, "zones", "ignored")
    errors += [unknown_key(name, str(path), known) for name in tables if name not in known]
    sections = {
        name: read_section(kind, tables.get(name, {}), f"{path}: [{name}]", errors, folder=path.parent)
        for name, kind in SECTIONS.items()
    }
    zones = tuple(_zone(table, f"{path}: [[zones]]", errors) for table in _list(tables, "zones", path, errors))
    where = f"{path}: [[ignored]]"
    ignored = tuple(_polygon(table, ("polygon",), where, errors) for table in _list(tables, "ignored", path, errors))
    return Config(**sections, zones=zones, ignored=ignored)


def _list(tables: dict[str, Any], name: str, path: Path, errors: list[str]) -> list[Any]:
    value = tables.get(name, [])
    if isinstance(value, list):
        return value
    errors.append(f"{path}: {name} is {show(value)}: expected [[{name}]] tables")
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
    """Return the mistakes between keys that are valid by themselves."""
    alarm, errors = config.alarm, []
    if alarm.off_share > alarm.on_share:
        errors.append(f"[alarm] off_share {alarm.off_share:g} is above on_share {alarm.on_share:g}: expected it below")
    if alarm.on_results > alarm.of_results:
        errors.append(f"[alarm] on_results {alarm.on_results} is above of_results {alarm.of_results}: expected less")
    try:
        ZoneMap(config.zones, config.ignored, CHECK_GRID, CHECK_GRID)
    except UserError as error:
        errors += error.lines
    return errors
