"""Files are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.files import make_folder, replacing, sha256, write_bytes, write_json, write_text


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="power cut"), replacing(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("power cut")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_readable_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_name_lies_beside_the_file_and_keeps_its_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "model.keras") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".keras"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "wind from the west: 3 m/s, 21 °C")
    assert path.read_text(encoding="utf-8") == "wind from the west: 3 m/s, 21 °C"


def test_a_folder_below_a_regular_file_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(UserError, match="could not be written"):
        write_bytes(blocked / "model.tflite", b"x")
    with pytest.raises(UserError, match="could not be written"):
        make_folder(blocked / "folder")


def test_a_folder_in_the_place_of_the_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.mkdir()
    with pytest.raises(UserError, match="could not be written"):
        write_bytes(path, b"x")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"x")
        assert os.umask(umask) == umask, "the umask itself must be left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_json_is_readable_by_people_and_ends_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"fire_iou": 0.75, "models": ["int8"]})
    assert json.loads(path.read_text()) == {"fire_iou": 0.75, "models": ["int8"]}
    assert path.read_text().startswith('{\n  "fire_iou"')
    assert path.read_text().endswith("}\n")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"fire")
    assert sha256(path) == hashlib.sha256(b"fire").hexdigest()
