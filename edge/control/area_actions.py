"""Actions that change zones and ignored areas in the configuration file, from which the run then reloads them.

Nothing is written unless the new text passes the checks of `fireseg-edge config check`. The file keeps its mode and
owner, and the previous text is kept beside it, as a `.bak`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.config import Config, Overrides, load_config, read_areas
from edge.config_schema import read_data
from edge.control.actions import Actions, Answer, Arguments, text_argument
from edge.control.area_editor import rounded, with_areas
from edge.detection.zones import Point, Polygon, Zone
from edge.errors import UserError, UserErrors
from edge.files import write_durably
from edge.signals import RunControl


class AreaActions:
    """Offers `edit-areas`, `save-areas` and `ignore`, as slow actions: they wait for the disk.

    Args:
        path: the configuration file of the run; None without one.
        overrides: as for `load_config`.
        control: where a reload is requested after each change.
        check: raises `UserError` for a configuration that the run would not accept.
        now: returns the local time, for the date behind new areas.
    """

    def __init__(
        self,
        path: Path | None,
        overrides: Overrides,
        control: RunControl,
        check: Callable[[Config], object],
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._path, self._overrides, self._control, self._check, self._now = path, overrides, control, check, now

    def register(self, actions: Actions) -> None:
        """Offer the actions."""
        for name, handler in (("edit-areas", self.read), ("save-areas", self.save), ("ignore", self.ignore)):
            actions.register(name, handler, is_slow=True)

    def read(self, _: Arguments) -> Answer:
        """Return `zones` and `ignored` of the file, and their `revision`. Raises `UserError` if none can be saved."""
        config = self._load(self._writable())[1]
        zones = [{"name": zone.name, "polygon": zone.polygon} for zone in config.zones]
        return {"revision": config.areas_revision, "zones": zones, "ignored": config.ignored}

    def save(self, arguments: Arguments) -> Answer:
        """Replace all areas by `zones`, with name and polygon, and `ignored`, polygons, if `revision` is the file's.

        Returns the new `revision`.
        """
        path = self._writable()
        before, config = self._load(path)
        if text_argument(arguments, "revision") != config.areas_revision:
            raise UserError("the areas have been changed elsewhere since you opened them", "load them again")
        return self._write(path, before, *_areas(arguments.get("zones"), arguments.get("ignored")))

    def ignore(self, arguments: Arguments) -> Answer:
        """Add an ignored area, `polygon`. Returns the new `revision`."""
        path = self._writable()
        _, added = _areas([], [arguments.get("polygon")])
        before, config = self._load(path)
        return self._write(path, before, config.zones, (*config.ignored, *added))

    def _writable(self) -> Path:
        """Return the path of the file. Raises `UserError` if it cannot be changed."""
        if self._path is None:
            remedy = "write one with `fireseg-edge config init`, and start the run with --config"
            raise UserError("the run has no configuration file to save areas in", remedy)
        target = self._path.resolve()
        may_write = os.access(target, os.W_OK) and os.access(target.parent, os.W_OK | os.X_OK)
        if os.access(target, os.F_OK) and not may_write:
            remedy = "give the run a configuration in a folder that it may write, or edit the file and reload"
            raise UserError(f"the run may not write {target} and its folder", remedy)
        return self._path

    def _load(self, path: Path) -> tuple[bytes, Config]:
        data = read_data(path)
        return data, load_config(path, self._overrides, data=data)

    def _write(self, path: Path, before: bytes, zones: Sequence[Zone], ignored: Sequence[Polygon]) -> Answer:
        comment = f"added on the page, {self._now().date()}"
        after = with_areas(before.decode(), zones, ignored, comment=comment).encode()
        config = load_config(path, self._overrides, data=after)
        if _as_written(config.zones, config.ignored) != _as_written(zones, ignored):
            raise UserError(
                f"the areas in {path} are written in an unsupported way", "write each as a table, or edit the file"
            )
        if _others(before) != _others(after):
            raise UserError(f"the areas in {path} could not be changed alone", "edit the file")
        self._check(config)
        if after != before:
            target = path.resolve()
            write_durably(target.with_name(f"{target.name}.bak"), before, like=target)
            write_durably(target, after, like=target)
            self._control.reload = True
        return {"revision": config.areas_revision}


def _areas(zones: Any, polygons: Any) -> tuple[Sequence[Zone], Sequence[Polygon]]:
    """Return the areas of an action. Raises `UserErrors`."""
    ignored = [{"polygon": polygon} for polygon in polygons] if isinstance(polygons, list) else polygons
    errors: list[str] = []
    areas = read_areas({"zones": zones, "ignored": ignored}, "areas", errors)
    if errors:
        raise UserErrors(errors)
    return areas


def _others(data: bytes) -> str:
    """Return all of a configuration but its areas, to compare it."""
    tables = tomllib.loads(data.decode("utf-8-sig"))
    return repr({key: value for key, value in tables.items() if key not in ("zones", "ignored")})


def _as_written(zones: Sequence[Zone], ignored: Sequence[Polygon]) -> tuple[list[Zone], list[tuple[Point, ...]]]:
    """Return the areas in an order that does not depend on their order in the file."""
    named = [replace(zone, polygon=rounded(zone.polygon)) for zone in zones]
    return sorted(named, key=lambda zone: zone.name), sorted(map(rounded, ignored))
