"""The queue on disk: order, limits, restarts and failing disks."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UserError
from edge.sinks import disk_queue as module
from edge.sinks import queue_files
from edge.sinks.disk_queue import BLOCK_BYTES, UNSTORED_S, DiskQueue
from tests.support.waiting import TIMEOUT_S

MAX_BYTES = 1e6


def document(number: int) -> bytes:
    return b"%d" % number


def documents(count: int) -> list[bytes]:
    return [document(number) for number in range(count)]


def filled(folder: Path, count: int, max_bytes: float = MAX_BYTES, **options: Any) -> DiskQueue:
    """A queue with the documents 0, 1, 2 …"""
    waiting = DiskQueue(folder, max_bytes, **options)
    for each in documents(count):
        waiting.put(each)
    return waiting


def drain(waiting: DiskQueue) -> list[int]:
    """Remove all documents and return their numbers."""
    numbers = []
    while (head := waiting.head()) is not None:
        numbers.append(json.loads(head[1]))
        waiting.remove(*head)
    return numbers


def test_a_full_queue_drops_the_oldest_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert drain(filled(tmp_path, 5, max_bytes=3.5 * BLOCK_BYTES)) == [2, 3, 4]  # each takes a whole block
    assert "outbox is full: 1 oldest event lost" in caplog.text


def test_unfinished_files_are_deleted_and_foreign_files_stay(tmp_path: Path) -> None:
    (tmp_path / ".000000000001-x7.json").write_bytes(b'{"nu')
    foreign = ["0000000000001.json", "5.json", "notes.json", "notes.txt", "².json"]
    for name in foreign:
        (tmp_path / name).write_bytes(document(9))
    assert drain(filled(tmp_path, 1)) == [0]
    assert sorted(path.name for path in tmp_path.iterdir()) == foreign


def test_a_damaged_document_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waiting = filled(tmp_path, 3)
    sorted(tmp_path.iterdir())[1].write_bytes(b"\0\0\0")
    assert drain(waiting) == [0, 2]
    assert "is set aside" in caplog.text
    assert waiting.dead_letters == 1


def test_a_document_that_cannot_be_read_at_the_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(tmp_path, 1)
    with monkeypatch.context() as busy:
        busy.setattr(module, "read_document", _too_many_files)
        with pytest.raises(OSError, match="Too many open files"):
            waiting.head()
    assert drain(waiting) == [0]


def test_a_missing_folder_loses_nothing(tmp_path: Path) -> None:
    waiting = filled(tmp_path / "outbox", 1)
    (tmp_path / "outbox").rename(tmp_path / "away")
    with pytest.raises(OSError, match="is missing"):
        waiting.head()
    (tmp_path / "away").rename(tmp_path / "outbox")
    assert drain(waiting) == [0]


def test_a_full_disk_costs_only_durability_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    waiting = filled(tmp_path, 1)
    with monkeypatch.context() as full:
        full.setattr(module, "write_durably", _no_space)
        waiting.put(document(1))
        waiting.put(document(2))
        waiting.write_pending()
    assert len(list(tmp_path.iterdir())) == 1
    waiting.put(document(3))  # with space again, documents in memory are written too
    assert len(list(tmp_path.iterdir())) == 4
    assert drain(waiting) == [0, 1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"events are kept in memory: {tmp_path} cannot be written (No space left on device)",
        f"events are written to {tmp_path} again",
    ]


def test_memory_is_limited_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_durably", _no_space)
    assert drain(filled(tmp_path, 5, max_memory_bytes=2 * len(document(0)))) == [3, 4]


def test_a_folder_that_cannot_be_created_leaves_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert drain(filled(tmp_path / "file" / "mqtt", 1)) == [0]
    assert "kept in memory" in caplog.text


def test_two_runs_never_deliver_the_same_queue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = filled(tmp_path, 1)
    second = DiskQueue(tmp_path, MAX_BYTES)
    second.put(document(1))
    assert drain(second) == [1]
    assert "another run uses it; give each its own [spool] folder" in caplog.text
    assert drain(first) == [0]
    first.close()
    assert drain(DiskQueue(tmp_path, MAX_BYTES)) == []


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.sampled_from(["put", "put", "deliver", "restart", "disk fails", "disk works"]), max_size=40))
def test_in_any_sequence_nothing_is_lost_doubled_or_reordered(steps: list[str]) -> None:
    put, delivered, works = 0, [], True

    def write(path: Path, data: bytes) -> None:
        if not works:
            _no_space(path, data)
        path.write_bytes(data)

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_durably", write)
        waiting = DiskQueue(Path(name), MAX_BYTES)
        for step in steps:
            if step == "put":
                waiting.put(document(put))
                put += 1
            elif step == "deliver" and (head := waiting.head()):
                delivered.append(json.loads(head[1]))
                waiting.remove(*head)
            elif step == "restart" and works:  # a put writes what is still in memory
                waiting.put(document(put))
                put += 1
                waiting.close()
                waiting = DiskQueue(Path(name), MAX_BYTES)
            elif step.startswith("disk"):
                works = step == "disk works"
        delivered += drain(waiting)
        waiting.close()
    assert delivered == list(range(put))


def _too_many_files(_: Path) -> bytes:
    raise OSError(24, os.strerror(24))


def _no_space(path: Path, _: Any) -> None:
    raise UserError(f"{path} could not be written", "choose a writable folder") from OSError(28, os.strerror(28))


@pytest.mark.parametrize("name", ["999999999999.json", "100000000000.json", "099999999999.json"])
def test_a_document_with_one_of_the_last_numbers_costs_no_other_document_its_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(document(7))
    for _ in range(3):
        waiting = filled(tmp_path, 2)
        waiting.close()
    assert drain(DiskQueue(tmp_path, MAX_BYTES)) == [7, 0, 1, 0, 1, 0, 1]


def test_a_dead_letter_with_the_last_number_costs_no_document_its_place(tmp_path: Path) -> None:
    (tmp_path / "099999999999.json").write_bytes(b"nonsense")
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    assert waiting.head() is None
    for _ in range(3):
        waiting.put(document(0))
        waiting.put(document(1))
        waiting.close()
        waiting = DiskQueue(tmp_path, MAX_BYTES)
    assert drain(waiting) == [0, 1, 0, 1, 0, 1]


def test_dead_letters_are_limited_and_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_files, "MAX_DEAD", 3)
    for _ in range(5):
        waiting = filled(tmp_path, 1)
        head = waiting.head()
        assert head
        waiting.set_aside(head[0], "rejected")
        waiting.close()
    names = sorted(path.name for path in (tmp_path / "dead").iterdir())
    assert names == [f"{number:012d}.json" for number in (3, 4, 5)]


def test_the_queue_of_a_run_that_ended_is_taken_over_by_the_one_that_waits_for_it(tmp_path: Path) -> None:
    first = filled(tmp_path, 2)
    second = DiskQueue(tmp_path, MAX_BYTES, retry_s=0.0)
    second.put(document(2))
    assert second.counts() == (0, 1)
    first.close()
    assert second.write_pending()
    assert second.counts() == (3, 0)
    assert drain(second) == [0, 1, 2]


def test_a_hung_disk_delays_neither_the_queue_nor_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, hangs, release = DiskQueue(tmp_path, MAX_BYTES), threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        release.wait(TIMEOUT_S)

    monkeypatch.setattr(module, "write_durably", hang)
    item = waiting.add(document(0))
    writer = threading.Thread(target=waiting.write_pending)
    writer.start()
    assert hangs.wait(TIMEOUT_S)
    assert (len(waiting), waiting.counts(), waiting.head()) == (1, (0, 1), None)
    item.made_s -= UNSTORED_S + 1
    assert drain(waiting) == [0]
    release.set()
    writer.join()
