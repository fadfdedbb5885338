"""The outbox: documents wait in order, within limits, across restarts, on failing disks, for failing receivers."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UserError
from edge.sinks import outbox as module
from edge.sinks.outbox import BLOCK_BYTES, DiskQueue, Outbox, outbox_folder
from tests.support.waiting import TIMEOUT_S, wait_for

MAX_BYTES = 1e6


class Receiver:
    """Accepts documents, after a number of failures."""

    def __init__(self, *, failures: int = 0) -> None:
        self.received: list[bytes] = []
        self.attempts = 0
        self._failures = failures

    def __call__(self, document: bytes, _: threading.Event) -> bool:
        self.attempts += 1
        if self.attempts <= self._failures:
            return False
        self.received.append(document)
        return True

    def received_after(self, count: int) -> list[bytes]:
        wait_for(lambda: len(self.received) >= count)
        return self.received


@contextmanager
def sending(folder: Path, deliver: module.Deliver, *, count: int = 0, **options: Any) -> Iterator[None]:
    """An outbox with `count` documents."""
    queue = DiskQueue(folder, MAX_BYTES)
    with closing(Outbox("test", queue, deliver, **{"wait_s": lambda _: 0.001} | options)) as outbox:
        for each in documents(count):
            outbox.put(each)
        yield


def document(number: int) -> bytes:
    return b"%d" % number


def documents(count: int) -> list[bytes]:
    return [document(number) for number in range(count)]


def test_documents_arrive_in_order_after_failures_and_leave_no_files(tmp_path: Path) -> None:
    receiver = Receiver(failures=3)
    with sending(tmp_path, receiver, count=5):
        assert receiver.received_after(5) == documents(5)
    assert receiver.attempts == 8
    assert list(tmp_path.iterdir()) == []


def test_put_does_not_wait_for_a_slow_receiver(tmp_path: Path) -> None:
    release, delivered = threading.Event(), []

    def deliver(document: bytes, _: threading.Event) -> bool:
        assert release.wait(TIMEOUT_S)
        delivered.append(document)
        return True

    with sending(tmp_path, deliver, count=10, grace_s=TIMEOUT_S):
        assert delivered == []
        release.set()
    assert delivered == documents(10)


def test_close_leaves_a_receiver_that_hangs_after_the_grace_period(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hangs, release = threading.Event(), threading.Event()

    def deliver(*_: Any) -> bool:
        hangs.set()
        release.wait(TIMEOUT_S)
        return True

    with sending(tmp_path, deliver, count=2, grace_s=0.1):
        assert hangs.wait(TIMEOUT_S)
    # Had `close` waited for the receiver, the first would be delivered.
    assert "test: 2 events will be sent after the next start" in caplog.text
    release.set()


def test_documents_that_could_not_be_stored_are_reported_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_error(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "write_durably", read_error)
    with sending(tmp_path, Receiver(failures=1000), count=3, wait_s=lambda _: TIMEOUT_S, grace_s=0.2):
        pass
    assert "test: 3 events are lost" in caplog.text
    assert "after the next start" not in caplog.text


def test_documents_that_did_not_arrive_are_sent_after_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, receiver = Receiver(failures=1000), Receiver()
    with sending(tmp_path, failing, count=3, wait_s=lambda _: TIMEOUT_S, grace_s=0.2):
        pass
    assert "test: 3 events will be sent after the next start" in caplog.text
    with sending(tmp_path, receiver):
        assert receiver.received_after(3) == documents(3)


def filled(folder: Path, count: int, max_bytes: float = MAX_BYTES, **options: float) -> DiskQueue:
    waiting = DiskQueue(folder, max_bytes, **options)
    for each in documents(count):
        waiting.put(each)
    return waiting


def drain(waiting: DiskQueue) -> list[int]:
    """Remove all documents and return their numbers."""
    numbers = []
    while (head := waiting.head()) is not None:
        item, data = head
        numbers.append(json.loads(data))
        waiting.remove(item)
    return numbers


def test_a_full_queue_drops_the_oldest_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert drain(filled(tmp_path, 5, max_bytes=3.5 * BLOCK_BYTES)) == [2, 3, 4]  # each takes a whole block
    assert "outbox is full: the 1 oldest events are lost" in caplog.text


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
    assert "its event is lost" in caplog.text


def test_a_document_that_cannot_be_read_at_the_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(tmp_path, 1)
    with monkeypatch.context() as busy:
        busy.setattr(Path, "read_bytes", _too_many_files)
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


def test_a_full_disk_costs_only_durability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(tmp_path, 1)
    with monkeypatch.context() as full:
        full.setattr(module, "write_durably", _no_space)
        waiting.put(document(1))
        waiting.put(document(2))
    assert len(list(tmp_path.iterdir())) == 1
    waiting.put(document(3))  # with space again, documents in memory are written too
    assert len(list(tmp_path.iterdir())) == 4
    assert drain(waiting) == [0, 1, 2, 3]


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
    assert "another run uses it" in caplog.text
    assert drain(first) == [0]
    first.close()
    assert drain(DiskQueue(tmp_path, MAX_BYTES)) == []


def test_the_outbox_folder_is_the_configured_one_or_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fireseg-edge:/var/lib/other")
    assert outbox_folder("here") == Path("here")
    assert outbox_folder("") == Path("/var/lib/fireseg-edge/spool")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert outbox_folder("") == tmp_path / "fireseg-edge"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert outbox_folder("") == tmp_path / ".local/state/fireseg-edge"


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
                waiting.remove(head[0])
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
    raise UserError(f"{path} could not be written ({os.strerror(28)})", "choose a writable folder")
