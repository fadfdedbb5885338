"""What waits for delivery: in order, within bounds, over restarts, on disks that fail."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UserError
from edge.sinks import spool as module
from edge.sinks.spool import BLOCK_BYTES, Spool, spool_folder

LARGE = 1e6


def document(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def waiting(spool: Spool) -> list[int]:
    """All that waits, taken from it."""
    found = []
    while (head := spool.head()) is not None:
        item, data = head
        found.append(json.loads(data)["number"])
        spool.done(item)
    return found


def test_documents_come_out_in_the_order_in_which_they_were_put(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "mqtt", LARGE)
    for number in range(12):
        spool.put(document(number))
    assert waiting(spool) == list(range(12))
    assert list((tmp_path / "mqtt").iterdir()) == []


def test_what_was_put_is_there_after_a_restart_and_new_ones_come_after_it(tmp_path: Path) -> None:
    before = Spool(tmp_path, LARGE)
    for number in range(3):
        before.put(document(number))
    before.close()
    after = Spool(tmp_path, LARGE)
    after.put(document(3))
    assert waiting(after) == [0, 1, 2, 3]


def test_without_anything_to_deliver_no_file_is_written(tmp_path: Path) -> None:
    Spool(tmp_path / "mqtt", LARGE).close()
    assert list((tmp_path / "mqtt").iterdir()) == []


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path, 3.5 * BLOCK_BYTES)  # each takes a whole block
    for number in range(5):
        spool.put(document(number))
    assert waiting(spool) == [2, 3, 4]
    assert "lost" in caplog.text


def test_what_an_interrupted_write_left_goes_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".000000000001-x7.json").write_bytes(b'{"nu')
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    assert waiting(Spool(tmp_path, LARGE)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.json", "notes.txt"]


def test_a_damaged_document_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path, LARGE)
    for number in range(3):
        spool.put(document(number))
    sorted(tmp_path.iterdir())[1].write_bytes(b"\0\0\0")
    assert waiting(spool) == [0, 2]
    assert "lost" in caplog.text


def test_what_cannot_be_read_at_the_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, LARGE)
    spool.put(document(0))
    with monkeypatch.context() as busy:
        busy.setattr(Path, "read_bytes", _too_many_files)
        with pytest.raises(OSError, match="Too many open files"):
            spool.head()
    assert waiting(spool) == [0]


def test_a_folder_that_is_away_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", LARGE)
    spool.put(document(0))
    (tmp_path / "spool").rename(tmp_path / "away")
    with pytest.raises(OSError, match="is gone"):
        spool.head()
    (tmp_path / "away").rename(tmp_path / "spool")
    assert waiting(spool) == [0]


@pytest.mark.parametrize("name", ["².json", "5.json", "0000000000001.json"])
def test_files_that_only_look_like_ours_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(document(9))
    spool = Spool(tmp_path, LARGE)
    spool.put(document(0))
    assert waiting(spool) == [0]
    assert (tmp_path / name).exists()


def test_a_full_disk_costs_nothing_but_the_durability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, LARGE)
    spool.put(document(0))
    with monkeypatch.context() as full:
        full.setattr(module, "write_durably", _no_space)
        spool.put(document(1))
        spool.put(document(2))
    assert len(list(tmp_path.iterdir())) == 1
    spool.put(document(3))  # there is room again: those in memory are written too
    assert len(list(tmp_path.iterdir())) == 4
    assert waiting(spool) == [0, 1, 2, 3]


def test_memory_is_bounded_while_the_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_durably", _no_space)
    monkeypatch.setattr(module, "MEMORY_BYTES", 2 * len(document(0)))
    spool = Spool(tmp_path, LARGE)
    for number in range(5):
        spool.put(document(number))
    assert waiting(spool) == [3, 4]


def test_a_folder_that_cannot_be_made_leaves_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "mqtt", LARGE)
    spool.put(document(0))
    assert waiting(spool) == [0]
    assert "memory" in caplog.text


def test_two_runs_never_deliver_the_same_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Spool(tmp_path, LARGE)
    first.put(document(0))
    second = Spool(tmp_path, LARGE)
    second.put(document(1))
    assert waiting(second) == [1]
    assert "another run" in caplog.text
    assert waiting(first) == [0]
    first.close()
    assert waiting(Spool(tmp_path, LARGE)) == []


def test_the_spool_lies_where_it_is_said_or_where_programs_keep_their_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fireseg-edge:/var/lib/other")
    assert spool_folder("here") == Path("here")
    assert spool_folder("") == Path("/var/lib/fireseg-edge/spool")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert spool_folder("") == tmp_path / "fireseg-edge"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool_folder("") == tmp_path / ".local/state/fireseg-edge"


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.sampled_from(["put", "put", "deliver", "restart", "disk fails", "disk works"]), max_size=40))
def test_whatever_happens_in_whatever_order_nothing_is_lost_doubled_or_reordered(steps: list[str]) -> None:
    put, delivered, works = 0, [], True

    def write(path: Path, data: bytes) -> None:
        if not works:
            _no_space(path, data)
        path.write_bytes(data)

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_durably", write)
        spool = Spool(Path(name), LARGE)
        for step in steps:
            if step == "put":
                spool.put(document(put))
                put += 1
            elif step == "deliver" and (head := spool.head()):
                delivered.append(json.loads(head[1])["number"])
                spool.done(head[0])
            elif step == "restart" and works:  # with a disk that fails, what is in memory is lost rightly
                spool.put(document(put))
                put += 1
                spool.close()
                spool = Spool(Path(name), LARGE)
            elif step.startswith("disk"):
                works = step == "disk works"
        delivered += waiting(spool)
        spool.close()
    assert delivered == list(range(put))


def _too_many_files(_: Path) -> bytes:
    raise OSError(24, os.strerror(24))


def _no_space(path: Path, _: Any) -> None:
    raise UserError(f"{path} could not be written ({os.strerror(28)})", "choose a folder that you may write to")
