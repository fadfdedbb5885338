"""What a run must remember survives a restart, and no disk holds it up."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edge.control.saved_state import MAX_BYTES, SavedState, state_path
from tests.support.waiting import wait_for


def content(path: Path) -> object:
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(path.read_bytes())
    return None


def test_values_survive_and_none_removes_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "camera.json"
    with closing(SavedState(path)) as state:
        assert not path.parent.exists(), "a run that saves nothing writes nothing"
        state["snoozed"] = {"left_s": 60}
        state["gone"] = 1
        state["gone"] = None
        wait_for(lambda: content(path) == {"snoozed": {"left_s": 60}})
    with closing(SavedState(path)) as state:
        assert (state.get("snoozed"), state.get("gone"), state.get("gone", 7)) == ({"left_s": 60}, None, 7)


def test_a_value_that_does_not_change_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    with closing(SavedState(path)) as state:
        state["a"] = 1
        wait_for(lambda: content(path) == {"a": 1})
        wait_for(lambda: not state._changed.is_set())
        state["a"] = 1
        state["none"] = None
        assert not state._changed.is_set()


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000, b" " * (MAX_BYTES + 1)])
def test_a_damaged_file_is_logged_and_counts_as_empty(
    data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "camera.json"
    path.write_bytes(data)
    with closing(SavedState(path)) as state:
        assert state.get("snoozed") is None
        (record,) = caplog.records
        assert f"{path} is ignored (" in record.message
        state["a"] = 1
        wait_for(lambda: content(path) == {"a": 1})


def test_a_folder_that_cannot_be_reached_does_not_keep_a_run_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SavedState(tmp_path / ("x" * 300) / "camera.json")) as state:
        assert state.get("snoozed") is None
    assert "is ignored (File name too long)" in caplog.text


def test_a_disk_that_cannot_be_written_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edge")
    blocker = tmp_path / "folder"
    blocker.write_text("a file where the folder should be")
    with closing(SavedState(blocker / "camera.json", retry_s=0.01)) as state:
        state["a"] = 1
        wait_for(lambda: state.problem)
        state["b"] = 2
        assert (state.get("a"), state.get("b")) == (1, 2)
        assert state.failures == 1
        blocker.unlink()
        wait_for(lambda: not state.problem and content(blocker / "camera.json") == {"a": 1, "b": 2})
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("arming, quiet places and drills will be lost with a restart: ")
    assert messages[1].endswith("camera.json is written again")


def test_each_camera_has_its_file_without_its_password(tmp_path: Path) -> None:
    addresses = ("0", "1", "rtsp://me:hunter2@camera/", os.fsdecode(b"caf\xe9/v.mp4"))
    paths = {state_path(tmp_path, address) for address in addresses}
    assert len(paths) == len(addresses)
    assert not any("hunter2" in os.fspath(path) for path in paths)
