"""Worker threads restart after a failure, and the system's refusal to start one is retried and visible."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from weakref import WeakSet

import pytest

from edge import threads
from edge.threads import Worker
from tests.support.waiting import TIMEOUT_S


def test_a_worker_that_raises_is_called_again_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    calls = iter([ValueError("bad item"), None])
    finished = threading.Event()

    def work() -> None:
        if error := next(calls):
            raise error
        finished.set()

    before = threads.restarts()
    worker = Worker("sender", work, wait_s=lambda _: 0.0)
    worker.start()
    assert finished.wait(TIMEOUT_S)
    worker.join(TIMEOUT_S)
    assert threads.restarts() - before == 1
    assert "sender failed (ValueError: bad item), restarting" in caplog.text
    assert "sender" not in threads.missing()
    del worker
    gc.collect()
    assert threads.restarts() - before == 1, "a counter never decreases"


def test_a_worker_that_ran_for_longer_than_the_longest_wait_begins_a_new_row_of_failures() -> None:
    ran_s = iter([1.0, 1.0, 100.0, 1.0])
    now_s, in_a_row, finished = [0.0], list[int](), threading.Event()

    def work() -> None:
        seconds = next(ran_s, None)
        if seconds is None:
            finished.set()
            return
        now_s[0] += seconds
        raise ValueError("again")

    def wait_s(failures: int) -> float:
        in_a_row.append(failures)
        return 0.0

    worker = Worker("sender", work, wait_s=wait_s, clock=lambda: now_s[0])
    worker.start()
    assert finished.wait(TIMEOUT_S)
    worker.join(TIMEOUT_S)
    assert in_a_row == [1, 2, 1, 2]


def test_a_thread_that_cannot_be_started_is_missing_until_a_retry_succeeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    finished = threading.Event()
    worker = Worker("sender", finished.wait)  # type: ignore[arg-type]

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        worker.start()
        threads.restart_missing()
        assert "sender" in threads.missing()
    threads.restart_missing()
    assert "sender" not in threads.missing()
    assert worker.is_alive()
    finished.set()
    worker.join(TIMEOUT_S)
    assert [record.message for record in caplog.records] == [
        "sender could not be started (can't start new thread), will retry",
        "sender runs again",
    ]


def test_a_worker_that_was_joined_is_not_restarted() -> None:
    calls = []
    worker = Worker("sender", lambda: calls.append(1))
    worker.start()
    worker.join(TIMEOUT_S)
    threads.restart_missing()
    assert calls == [1]
    assert not worker.is_alive()


class LockedSet(WeakSet[Worker]):
    """Fails where another thread could change it meanwhile, which raises in the loop."""

    def __iter__(self) -> Iterator[Worker]:
        assert threads._lock.locked()
        return super().__iter__()

    def add(self, item: Worker) -> None:
        assert threads._lock.locked()
        super().add(item)


def test_workers_may_be_started_while_the_loop_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_workers", LockedSet())
    worker = Worker("sender", lambda: None)
    worker.start()
    threads.restart_missing()
    assert threads.missing() == []
    worker.join(TIMEOUT_S)
