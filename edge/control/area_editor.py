"""Write zones and ignored areas into the text of a configuration, and leave the rest unchanged.

The text is cut at its table headers. Only [[zones]] and [[ignored]] tables that differ are edited, each by tomlkit,
which keeps its comments; all others keep every byte. tomlkit alone would reorder tables, and take the comment before
the next table away with a deleted one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.detection.zones import Point, Polygon, Zone

DECIMALS = 3  # of a corner: a pixel of a frame 1000 pixels wide
BOM = "\ufeff"
HEADER = re.compile(r"^[ \t]*\[\[?[^,\n\]#]*\]\]?[ \t\r]*(?:#.*)?$", re.MULTILINE)
"""A line that may be a table header; `[0.1]` in an array of several lines looks like one, too."""


@dataclass(frozen=True)
class Area:
    """A zone, or an ignored area, which has no name."""

    name: str
    polygon: tuple[Point, ...]


def with_areas(text: str, zones: Sequence[Zone], ignored: Sequence[Polygon], *, comment: str = "") -> str:
    """Return the text of a configuration with these zones and ignored areas, corners rounded to three decimals.

    An existing table is recognised by its name, or by half of its corners, and keeps its place, its comments and its
    unchanged values. New tables follow the last one of their kind, or end the text. Areas in an inline array,
    `zones = […]`, become tables when one of them changes.

    Args:
        text: a valid configuration.
        comment: written behind the header of new tables.

    Example:
        >>> print(with_areas("# cellar\n", [], [[(0, 0), (1, 0), (1, 0.25)]], comment="television"))
        # cellar
        <BLANKLINE>
        [[ignored]]  # television
        polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.25]]
        <BLANKLINE>
    """
    has_bom, text = text.startswith(BOM), text.removeprefix(BOM)
    is_crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    if is_crlf:
        text = text.replace("\r\n", "\n")
    text = _with_kind(text, "zones", [Area(zone.name, rounded(zone.polygon)) for zone in zones], comment)
    text = _with_kind(text, "ignored", [Area("", rounded(polygon)) for polygon in ignored], comment)
    return (BOM if has_bom else "") + (text.replace("\n", "\r\n") if is_crlf else text)


def rounded(polygon: Polygon) -> tuple[Point, ...]:
    """Return the corners with the decimals that are written."""
    return tuple((round(float(x), DECIMALS) + 0.0, round(float(y), DECIMALS) + 0.0) for x, y in polygon)  # no -0.0


def _with_kind(text: str, kind: str, wanted: Sequence[Area], comment: str) -> str:
    first, *tables = _tables(text)
    if (inline := tomllib.loads(first).get(kind)) is not None:
        if [_area(table) for table in inline] == list(wanted):
            return text
        first = _without_key(first, kind)
    existing = {at: _area(areas[0]) for at, table in enumerate(tables) if (areas := tomllib.loads(table).get(kind))}
    kept = _matches(existing, wanted)
    for at in existing:
        body, remarks = _without_remarks(tables[at])
        tables[at] = (_changed(body, kind, wanted[kept[at]]) if at in kept else "") + remarks
    added = [area for index, area in enumerate(wanted) if index not in kept.values()]
    if not added:
        return first + "".join(tables)
    before, after = first + "".join(tables), ""
    if existing:
        body, remarks = _without_remarks(tables[last := max(existing)])
        before, after = first + "".join(tables[:last]) + body, remarks + "".join(tables[last + 1 :])
    for area in added:
        before += "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
        before += _new_table(kind, area, comment)
    return before + after


def _tables(text: str) -> list[str]:
    """Return the text in parts: what precedes the first table header, then each table."""
    starts = [0]
    for header in HEADER.finditer(text):
        try:
            tomllib.loads(text[starts[-1] : header.start()])
        except tomllib.TOMLDecodeError:  # inside an array or a text of several lines
            continue
        starts.append(header.start())
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _without_remarks(table: str) -> tuple[str, str]:
    """Return a table, and the blank lines and comments after its last key, which may be about the next table."""
    end = len(table)
    while end:
        start = table.rfind("\n", 0, end - 1) + 1
        line = table[start:end].strip()
        if line and not line.startswith("#"):
            break
        end = start
    return table[:end], table[end:]


def _area(table: dict[str, Any]) -> Area:
    return Area(table.get("name", ""), rounded(table["polygon"]))


def _matches(existing: dict[int, Area], wanted: Sequence[Area]) -> dict[int, int]:
    """Return the index of the wanted area for each existing table; tables without one are removed."""
    likeness: list[tuple[bool, int, int, int]] = []
    for at, old in existing.items():
        corners = set(old.polygon)
        for index, new in enumerate(wanted):
            has_name, shared = old.name == new.name != "", len(corners.intersection(new.polygon))
            if has_name or 2 * shared >= len(corners):
                likeness.append((has_name, shared, -at, -index))
    matches: dict[int, int] = {}
    for *_, at, index in sorted(likeness, reverse=True):
        if -at not in matches and -index not in matches.values():
            matches[-at] = -index
    return matches


def _changed(table: str, kind: str, area: Area) -> str:
    """Return the table with this name and polygon."""
    old = _area(tomllib.loads(table)[kind][0])
    if old == area:
        return table
    import tomlkit  # only for an edit: it takes memory

    document = tomlkit.parse(table)
    keys: Any = document[kind]
    if old.name != area.name:
        keys[0]["name"] = area.name
    if old.polygon != area.polygon:
        keys[0]["polygon"] = tomlkit.item(area.polygon)
    return tomlkit.dumps(document)


def _new_table(kind: str, area: Area, comment: str) -> str:
    import tomlkit

    lines = [f"[[{kind}]]" + (f"  # {comment}" if comment else "")]
    if area.name:
        lines.append(f"name = {tomlkit.item(area.name).as_string()}")
    return "\n".join([*lines, f"polygon = {tomlkit.item(area.polygon).as_string()}", ""])


def _without_key(text: str, key: str) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    document.remove(key)
    return tomlkit.dumps(document)
