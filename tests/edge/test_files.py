"""Files are written atomically."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.files import (
    check_writable,
    make_folder,
    replacing,
    sha256,
    write_bytes,
    write_durably,
    write_json,
    write_text,
)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".keras")
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_durable_bytes_are_written_with_their_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "wind from the west: 3 m/s, 21 °C")
    assert path.read_text(encoding="utf-8") == "wind from the west: 3 m/s, 21 °C"
    write_durably(path, b"calm")
    assert path.read_bytes() == b"calm"
    assert sha256(path) == hashlib.sha256(b"calm").hexdigest()


def test_a_folder_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(UserError, match=r"could not be written.*: choose a writable folder"):
        write_bytes(blocked / "model.tflite", b"x")
    with pytest.raises(UserError, match="could not be written"):
        make_folder(blocked / "folder")
    with pytest.raises(UserError, match="is not a folder"):
        check_writable(blocked / "folder")
    with pytest.raises(UserError, match=r"No space left on device.*: free some space"), replacing(tmp_path / "full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    check_writable(tmp_path / "not" / "made" / "yet")
    assert list(tmp_path.iterdir()) == [blocked]
    with pytest.raises(UserError, match="could not be written"):
        write_bytes(tmp_path, b"x")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"x")
        assert os.umask(umask) == umask, "the umask itself must not change"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"fire_iou": 0.75, "models": ["int8"]})
    text = path.read_text()
    assert json.loads(text) == {"fire_iou": 0.75, "models": ["int8"]}
    assert text.startswith('{\n  "fire_iou"')
    assert text.endswith("}\n")


def test_a_link_to_a_missing_folder_is_not_a_writable_folder(tmp_path: Path) -> None:
    (tmp_path / "events").symlink_to(tmp_path / "unmounted/events")
    with pytest.raises(UserError, match="events is not a folder"):
        check_writable(tmp_path / "events")
