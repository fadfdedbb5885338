"""A configuration file that is hostile, huge or odd is a short error, or is read as a person means it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.config import load_config
from edge.errors import UserError
from edge.secrets import read_secret


def nested(depth: int) -> str:
    return ".a" * depth


BOMBS = {
    "arrays": ("x = " + "[" * 20_000, "is nested too deeply"),
    "inline tables": ("x = " + "{a = " * 5000, "is nested too deeply"),
    "tables": (f"[model.path{nested(5000)}]", "has a name of more than 20 parts"),
    "quoted tables": ('x."\\".b" . ' + "'.a' .\t" * 20 + "a = 1", "has a name of more than 20 parts"),
    "a long key": ("a" * 200_000 + " = 1", "has no key aaa"),
    "a long value": (f'[model]\npath = "http://me:hunter2{"a" * 200_000}"', 'path = "http://***'),
    "zones": ('[[zones]]\nname = "a"\n' * 101, "101 [[zones]] tables: expected at most 100"),
    "corners": (f"[[ignored]]\npolygon = [{'[0, 0],' * 1001}]", "1,001 corners: expected 3 to 1,000"),
    "digits": ("[loop]\nmax_fps = " + "1" * 4500, "is not TOML"),
    "hexadecimal digits": (
        "[loop]\nmax_fps = 0x" + "f" * 5000,
        "max_fps = a value too large to show: expected a number",
    ),
    "400 digits": ("[loop]\nmax_fps = " + "1" * 400, "expected a number from 0 to 1000"),
    "corner": (f'[[zones]]\nname = "a"\npolygon = [[0, 0], [1, 0], [1{"0" * 400}, 1]]', "expected corners"),
    "text": (f'[model]\npath = "{"x" * 5000}\\n"', "without control characters"),
    "size": ("#" * (2 << 20), "has 2.1 MB: expected at most 0.3 MB"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_configuration_is_a_short_error(bomb: str, tmp_path: Path) -> None:
    text, expected = BOMBS[bomb]
    path = tmp_path / "fireseg.toml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        load_config(path)
    (line,) = raised.value.lines
    assert expected in line
    assert len(line) < 1000
    assert "hunter2" not in line


def test_up_to_20_parts_and_polygons_of_any_length_are_not_a_nested_name(tmp_path: Path) -> None:
    path, corners = tmp_path / "fireseg.toml", ", ".join(["[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]"] * 99)
    path.write_text(f'# 1.2. And so on ... "a". "b".\n[[zones]]\nname = "a{nested(19)}"\npolygon = [{corners}]\n')
    assert len(load_config(path).zones[0].polygon) == 297


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match=r"configuration .*fifo could not be read \(not a regular file\)"):
        load_config(tmp_path / "fifo")
    with pytest.raises(UserError, match=r"fifo could not be read \(not a regular file\)"):
        read_secret("FIRESEG_UNSET", str(tmp_path / "fifo"))


def test_a_byte_order_mark_is_not_part_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text("[loop]\nmax_fps = 3\n", encoding="utf-8-sig")
    assert load_config(path).loop.max_fps == 3
