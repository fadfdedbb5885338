"""Areas written into a configuration: they are read back as they were drawn, and the rest of the text stays."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.config import documented_config
from edge.config import MAX_NAME, read_areas
from edge.control.area_editor import BOM, rounded, with_areas
from edge.detection.zones import Point, Zone

Polygon = tuple[Point, ...]

STOVE = Zone("stove", ((0.1, 0.4), (0.5, 0.4), (0.5, 0.9)))
WINDOW = Zone("window", ((0.6, 0.1), (0.9, 0.1), (0.9, 0.5)))
TELEVISION: Polygon = ((0.8, 0.0), (1.0, 0.0), (1.0, 0.3))
TEXT = '''# My kitchen.
[alarm]
on_s = 1.50   # longer than a lighter

# The stove.
[[zones]] # since May
name = 'stove' # gas
polygon = [
  [0.1, 0.4], # left
  [0.5, 0.4], [0.5, 0.9],
]

# The television.
[[ignored]]
polygon = [[0.8, 0], [1, 0], [1, 0.3]]

# The window.
[[zones]]
polygon = [[0.6, 0.1], [0.9, 0.1], [0.9, 0.5]] # curtains
name = "window"

# About the page.
[web]
listen = "127.0.0.1:8080"'''

coordinates = st.floats(0, 1)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6).map(tuple)
names = st.text(min_size=1, max_size=MAX_NAME).filter(lambda name: name.isprintable() and name.strip())
many_zones = st.lists(st.builds(Zone, names, polygons), max_size=4, unique_by=lambda zone: zone.name)
values = st.sampled_from(["1", "'[[zones]]'", '"""\n[[ignored]]\n[web]\n"""', "[\n [0.1],\n ['x'] # ]\n]", "{a = 1}"])
remarks = st.sampled_from(["", "\n", "# [[zones]]\n", "  # a, b\n\n", "\t\n"])
keys = st.builds("{}k{} = {} # x\n".format, remarks, st.integers(0, 99), values)
tables = st.builds(
    lambda name, lines: f"[{name}]\n" + "".join(lines),
    st.sampled_from(["a", " b ", '"c"', "d.e", "[f]", "[ g.h ]"]),
    st.lists(keys, max_size=3, unique_by=lambda key: key.partition("=")[0].split()[-1]),
)
others = st.lists(tables, max_size=4, unique_by=lambda table: table.partition("\n")[0])


def written(kind: str, name: str, polygon: Polygon) -> str:
    corners = ",\n ".join(f"[{x!r}, {y!r}]" for x, y in polygon)
    return f"[[{kind}]]\n" + (f"name = '''{name}'''\n" if kind == "zones" else "") + f"polygon = [{corners}]\n"


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw configurations in which areas and other tables follow each other in any order."""
    simple = st.text("abc", min_size=1)
    areas = st.lists(st.builds(written, st.sampled_from(["zones", "ignored"]), simple, polygons), max_size=4)
    parts = draw(st.permutations([*draw(others), *draw(areas)]))
    return draw(remarks) + "".join(part + draw(remarks) for part in parts)


def read(text: str) -> tuple[set[Zone], list[Polygon]]:
    errors: list[str] = []
    zones, ignored = read_areas(tomllib.loads(text.removeprefix(BOM)), "", errors)
    assert errors == []
    return set(zones), sorted(ignored)


def other_lines(text: str) -> list[str]:
    """Return the lines that belong to no area."""
    areas = re.compile(r"^\[\[(?:zones|ignored)\]\](?:  # new)?\n(?:name = .*\n)?polygon = \[(?:.*,\n)*.*\]\]\n", re.M)
    return [line for line in areas.sub("", text).splitlines() if line.strip()]


@given(texts(), many_zones, st.lists(polygons, max_size=3))
def test_what_is_written_is_read_back_and_all_other_lines_stay(
    text: str, zones: list[Zone], ignored: list[Polygon]
) -> None:
    edited = with_areas(text, zones, ignored, comment="new")
    expected = {Zone(zone.name, rounded(zone.polygon)) for zone in zones}
    written_zones, written_ignored = read(edited)  # of those that did not change, with all their decimals
    assert {Zone(zone.name, rounded(zone.polygon)) for zone in written_zones} == expected
    assert sorted(map(rounded, written_ignored)) == sorted(map(rounded, ignored))
    assert other_lines(edited) == other_lines(text)
    assert other_tables(edited) == other_tables(text)
    assert with_areas(edited, zones, ignored, comment="newer") == edited


def other_tables(text: str) -> dict[str, Any]:
    return {name: table for name, table in tomllib.loads(text).items() if name not in ("zones", "ignored")}


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), BOM + TEXT, documented_config(), ""])
def test_areas_that_are_there_change_not_one_byte(text: str) -> None:
    zones, ignored = read(text)
    assert with_areas(text, [*zones], ignored) == text


def test_a_moved_corner_keeps_every_comment_outside_the_polygon() -> None:
    moved = Zone("stove", ((0.1, 0.4), (0.5, 0.4), (0.55, 0.95)))
    old = TEXT[TEXT.index("polygon = [\n") : TEXT.index("\n\n# The television")]
    new = "polygon = [[0.1, 0.4], [0.5, 0.4], [0.55, 0.95]]"
    assert with_areas(TEXT, [moved, WINDOW], [TELEVISION]) == TEXT.replace(old, new)


def test_a_renamed_zone_keeps_its_table_and_comments() -> None:
    renamed = Zone('the "oven"', STOVE.polygon)
    expected = TEXT.replace("name = 'stove' # gas", r'name = "the \"oven\"" # gas')
    assert with_areas(TEXT, [renamed, WINDOW], [TELEVISION]) == expected


def test_a_new_zone_follows_the_last_one_before_the_comments_of_the_next_table() -> None:
    door = Zone("door", ((0.0, 0.0), (0.12345, 0.0), (0.1, 0.3)))
    table = '\n[[zones]]  # new\nname = "door"\npolygon = [[0.0, 0.0], [0.123, 0.0], [0.1, 0.3]]\n'
    end = "\n\n# About the page."
    expected = TEXT.replace(end, f"\n{table}{end[1:]}")
    assert with_areas(TEXT, [STOVE, WINDOW, door], [TELEVISION], comment="new") == expected


def test_a_deleted_zone_leaves_the_comments_around_it() -> None:
    table = TEXT[TEXT.index("[[zones]] # since May") : TEXT.index("\n# The television")]
    assert with_areas(TEXT, [WINDOW], [TELEVISION]) == TEXT.replace(table, "")


def test_a_new_area_does_not_inherit_the_comments_of_a_deleted_one() -> None:
    door = Zone("door", (WINDOW.polygon[0], (1.0, 0.0), (1.0, 0.3)))  # beside the window
    edited = with_areas(TEXT, [STOVE, door], [TELEVISION])
    assert "curtains" not in edited
    assert "gas" in edited


def test_areas_in_an_inline_array_become_tables() -> None:
    text = "zones = []\nignored = [{polygon = [[0, 0], [1, 0], [1, 1]]}] # dark\n# Loop.\n[loop]\nmax_fps = 5"
    edited = with_areas(text, [STOVE], [((0, 0), (1, 0), (1, 1))])
    assert edited.startswith(text.removeprefix("zones = []\n") + "\n\n[[zones]]\nname")
    assert read(edited) == ({STOVE}, [((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))])
    assert "ignored" not in with_areas(text, [], [])


def test_a_header_with_another_line_end_than_the_rest_is_a_header() -> None:
    text = "[[ignored]]\npolygon = [[0, 0], [1, 0], [0, 1]]\n[web]\nlisten = 1\n"
    text += "[[ignored]]\r\npolygon = [[0, 0], [0.5, 0], [0, 0.25]]\r\n"
    assert tomllib.loads(with_areas(text, [], []).replace("\r", "")) == {"web": {"listen": 1}}
