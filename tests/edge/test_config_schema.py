"""A configuration file that is hostile, huge or odd is a short error, or is read as a person means it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import load_config
from edge.errors import UserError


def nested(depth: int) -> str:
    return ".a" * depth


BOMBS = {
    "arrays": ("x = " + "[" * 20_000, "is nested too deeply"),
    "inline tables": ("x = " + "{a = " * 5000, "is nested too deeply"),
    "tables": (f"[model.path{nested(5000)}]", "path = a value too large to show: expected a text"),
    "digits": ("[loop]\nmax_fps = " + "1" * 4500, "is not TOML"),
    "hexadecimal digits": (
        "[loop]\nmax_fps = 0x" + "f" * 5000,
        "max_fps = a value too large to show: expected a number",
    ),
    "400 digits": ("[loop]\nmax_fps = " + "1" * 400, "expected a number from 0 to 1000"),
    "corner": (f'[[zones]]\nname = "a"\npolygon = [[0, 0], [1, 0], [1{"0" * 400}, 1]]', "expected corners"),
    "text": (f'[model]\npath = "{"x" * 5000}\\n"', "without control characters"),
    "size": ("#" * (2 << 20), "has more than 1048576 bytes"),
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


def test_a_byte_order_mark_is_not_part_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text("[loop]\nmax_fps = 3\n", encoding="utf-8-sig")
    assert load_config(path).loop.max_fps == 3
