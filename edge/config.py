"""The configuration: every key of a table is one field with its default, its bounds and a description.

Standard-library TOML and dataclasses: no dependency, and `fireseg-edge config init` documents each key by the
definition that validates it. [alarm] and [detection] are in `edge.detection`, `alarm.py` and `views.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edge.config_schema import PathKind, parse_toml, read_data, read_section, show, unknown_key
from edge.config_tables import (
    ArmingSection,
    ClipsSection,
    DrillSection,
    LoopSection,
    ModelSection,
    MqttSection,
    NotifySection,
    SourceSection,
    SpoolSection,
    UpdateSection,
    WebhookSection,
    WebSection,
)
from edge.detection.alarm import AlarmRules
from edge.detection.views import DetectionSettings
from edge.detection.zones import Point, Zone, ZoneMap
from edge.errors import UserError, UserErrors
from edge.secrets import redact

MAX_NAME = 100
MAX_AREAS = 100  # zones, and ignored areas: each takes memory, and time of every frame
CHECK_GRID = 224  # cells per side of the grid on which zones are validated before a model is loaded

UPDATE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")  # of a model in a repository: part of a path

FLAGS = {"address": "source", "path": "model", "folder": "clips", "listen": "web", "host": "mqtt", "url": "webhook"}
"""Options of `run` that are not named like their key."""

Overrides = Mapping[str, Mapping[str, Any]]  # values by table and key, from command-line options


@dataclass(frozen=True)
class Config:
    """Everything that `fireseg-edge run` can be configured to do: one attribute for each table of the file."""

    source: SourceSection = SourceSection()  # noqa: RUF009 (frozen)
    model: ModelSection = ModelSection()  # noqa: RUF009 (frozen)
    alarm: AlarmRules = AlarmRules()  # noqa: RUF009 (frozen)
    detection: DetectionSettings = DetectionSettings()  # noqa: RUF009 (frozen)
    loop: LoopSection = LoopSection()  # noqa: RUF009 (frozen)
    arming: ArmingSection = ArmingSection()  # noqa: RUF009 (frozen)
    clips: ClipsSection = ClipsSection()  # noqa: RUF009 (frozen)
    web: WebSection = WebSection()  # noqa: RUF009 (frozen)
    mqtt: MqttSection = MqttSection()  # noqa: RUF009 (frozen)
    webhook: WebhookSection = WebhookSection()  # noqa: RUF009 (frozen)
    notify: NotifySection = NotifySection()  # noqa: RUF009 (frozen)
    drill: DrillSection = DrillSection()  # noqa: RUF009 (frozen)
    spool: SpoolSection = SpoolSection()  # noqa: RUF009 (frozen)
    update: UpdateSection = UpdateSection()  # noqa: RUF009 (frozen)
    zones: tuple[Zone, ...] = ()
    ignored: tuple[tuple[Point, ...], ...] = ()

    @property
    def areas_revision(self) -> str:
        """The SHA-256 of zones and ignored areas: a change of them names those that it replaces."""
        areas = json.dumps([[(zone.name, zone.polygon) for zone in self.zones], self.ignored])
        return hashlib.sha256(areas.encode()).hexdigest()

    def files(self, kind: PathKind) -> list[Path]:
        """Return the paths that are set, of one kind, in the order of the file."""
        sections = (getattr(self, name) for name in SECTIONS)
        keys = ((section, key) for section in sections for key in fields(section) if key.metadata["path"] == kind)
        return [Path(value) for section, key in keys if (value := getattr(section, key.name))]


SECTIONS: dict[str, Any] = {key.name: type(key.default) for key in fields(Config) if key.default != ()}
"""The dataclass of each table, by its name."""


def load_config(path: Path | None, overrides: Overrides | None = None, *, data: bytes | None = None) -> Config:
    """Return the configuration in a file, or the defaults; `overrides` that are not None take precedence.

    Raises `UserError` with one line for each mistake.

    Args:
        data: what the file is to hold; None for what it holds.
    """
    errors: list[str] = []
    config = _read_config(path, read_data(path) if data is None else data, errors) if path else Config()
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


def _read_config(path: Path, data: bytes, errors: list[str]) -> Config:
    tables = parse_toml(data, path)
    known = (*SECTIONS, "zones", "ignored")
    errors += [unknown_key(name, str(path), known) for name in tables if name not in known]
    sections = {
        name: read_section(kind, tables.get(name, {}), f"{path}: [{name}]", errors, folder=path.parent)
        for name, kind in SECTIONS.items()
    }
    zones, ignored = read_areas(tables, str(path), errors)
    return Config(**sections, zones=zones, ignored=ignored)


def read_areas(
    tables: Mapping[str, Any], where: str, errors: list[str]
) -> tuple[tuple[Zone, ...], tuple[tuple[Point, ...], ...]]:
    """Return the zones and the ignored areas in [[zones]] and [[ignored]]; mistakes go to `errors`."""
    zones = tuple(Zone(*area) for area in _areas(tables, "zones", ("name", "polygon"), where, errors))
    return zones, tuple(polygon for _, polygon in _areas(tables, "ignored", ("polygon",), where, errors))


def _areas(
    tables: Mapping[str, Any], kind: str, keys: tuple[str, ...], path: str, errors: list[str]
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
    if config.loop.max_fps and 1 / config.loop.max_fps > alarm.memory_s:
        errors.append(
            f"[alarm] memory_s {alarm.memory_s:g} is too short at [loop] max_fps {config.loop.max_fps:g}: "
            f"expected at least {1 / config.loop.max_fps:g}, the time between two results"
        )
    if update := config.update.url:
        if not config.update.root:
            errors.append(f"[update] url {show(redact(update))} needs root: name the root.json of that repository")
        if not UPDATE_NAME.fullmatch(config.update.model or config.model.path):
            problem = f"{show(config.update.model)} is not a name" if config.update.model else "is missing"
            errors.append(f'[update] model {problem}: expected one in the repository, such as "base"')
    try:
        ZoneMap(config.zones, config.ignored, CHECK_GRID, CHECK_GRID)
    except UserError as error:
        errors += error.lines
    return errors
