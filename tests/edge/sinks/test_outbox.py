"""The outbox: documents are delivered in order, whatever the receiver, the disk or the process does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge import threads
from edge.sinks import disk_queue as module
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.outbox import Deliver, Outbox
from tests.edge.sinks.test_disk_queue import MAX_BYTES, document, documents
from tests.support.waiting import TIMEOUT_S, wait_for


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


def written(outbox: Outbox, count: int) -> None:
    """Wait until `count` documents are on disk."""
    wait_for(lambda: outbox._waiting.counts() == (count, 0))


def emptied(folder: Path) -> None:
    """Wait until the files of all documents are deleted."""
    wait_for(lambda: not any(folder.iterdir()))


@contextmanager
def sending(folder: Path, deliver: Deliver, *, count: int = 0, **options: Any) -> Iterator[Outbox]:
    """An outbox with `count` documents."""
    queue = DiskQueue(folder, MAX_BYTES)
    with closing(Outbox("test", queue, deliver, **{"wait_s": lambda _: 0.001} | options)) as outbox:
        for each in documents(count):
            outbox.send(outbox.store(each))
        yield outbox


def test_documents_arrive_in_order_after_failures_and_leave_no_files(tmp_path: Path) -> None:
    receiver = Receiver(failures=3)
    with sending(tmp_path, receiver, count=5):
        assert receiver.received_after(5) == documents(5)
        emptied(tmp_path)
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

    with sending(tmp_path, deliver, count=2, grace_s=0.1) as outbox:
        assert hangs.wait(TIMEOUT_S)
        written(outbox, 2)
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
    assert "test: 3 events lost: " in caplog.text
    assert "after the next start" not in caplog.text


def test_documents_that_did_not_arrive_are_sent_after_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, receiver = Receiver(failures=1000), Receiver()
    with sending(tmp_path, failing, count=3, wait_s=lambda _: TIMEOUT_S, grace_s=0.2) as outbox:
        written(outbox, 3)
    assert "test: 3 events will be sent after the next start" in caplog.text
    with sending(tmp_path, receiver):
        assert receiver.received_after(3) == documents(3)


@pytest.mark.parametrize("where", ["read_document", "write_durably"])
def test_an_input_output_error_of_the_disk_ends_no_delivery(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, works = iter(range(2)), getattr(module, where)

    def fail_first(*arguments: Any) -> Any:
        if next(errors, None) is not None:
            raise OSError(5, "Input/output error")
        return works(*arguments)

    monkeypatch.setattr(module, where, fail_first)
    receiver = Receiver()
    with sending(tmp_path, receiver, count=5):
        assert receiver.received_after(5) == documents(5)


def test_an_input_output_error_of_the_folder_at_the_start_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending(tmp_path, Receiver(failures=1000), count=1, wait_s=lambda _: TIMEOUT_S, grace_s=0.2) as outbox:
        written(outbox, 1)
    errors, works = iter([True]), Path.iterdir

    def fail_once(folder: Path) -> Iterator[Path]:
        if next(errors, False):
            raise OSError(5, "Input/output error")
        return works(folder)

    monkeypatch.setattr(Path, "iterdir", fail_once)
    queue, receiver = DiskQueue(tmp_path, MAX_BYTES, retry_s=0.01), Receiver()
    assert len(queue) == 0
    with closing(Outbox("test", queue, receiver)):
        assert receiver.received_after(1) == documents(1)


def test_a_document_that_fails_while_others_pass_is_set_aside(tmp_path: Path) -> None:
    accepted = []

    def deliver(document: bytes, _: threading.Event) -> bool:
        if document == b"0":
            raise ConnectionError("500")
        accepted.append(document)
        return True

    queue = DiskQueue(tmp_path, MAX_BYTES)
    with closing(Outbox("test", queue, deliver, wait_s=lambda _: 0.0)) as outbox:
        for each in documents(3):
            outbox.send(outbox.store(each))
        wait_for(lambda: len(accepted) == 2 and not len(queue))
        status = outbox.status("test")
    assert (status.dead_letters, status.delivered, status.waiting) == (1, 2, 0)
    assert (tmp_path / "dead" / "000000000001.json").read_bytes() == b"0"


def test_a_receiver_that_fails_for_long_gets_everything_in_order(tmp_path: Path) -> None:
    receiver = Receiver(failures=200)
    with sending(tmp_path, receiver, count=4, wait_s=lambda _: 0.0):
        assert receiver.received_after(4) == documents(4)
        emptied(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_cannot_be_started_deliver_once_they_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    receiver = Receiver()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outbox = Outbox("test", DiskQueue(tmp_path, MAX_BYTES), receiver)
        outbox.send(outbox.store(document(0)))
    assert {"test outbox writer", "test outbox sender"} <= set(threads.missing())
    threads.restart_missing()
    assert receiver.received_after(1) == documents(1)
    outbox.close()


def test_close_does_not_wait_for_a_hung_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, release = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        release.wait(TIMEOUT_S)

    monkeypatch.setattr(module, "write_durably", hang)
    closed = threading.Event()
    with sending(tmp_path, Receiver(), grace_s=0.1) as outbox:

        def close() -> None:
            outbox.close()
            closed.set()

        outbox.send(outbox.store(document(0)))
        assert hangs.wait(TIMEOUT_S)
        threading.Thread(target=close, daemon=True).start()
        assert closed.wait(TIMEOUT_S / 2)  # the disk hangs for longer
    release.set()
