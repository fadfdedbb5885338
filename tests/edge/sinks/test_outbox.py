"""Bringing events to a receiver that is away, slow, or refuses."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edge.sinks.outbox import Delivery, OutboxSender
from edge.sinks.spool import Spool

LARGE = 1e6
LONG_S = 10.0


class Receiver:
    """Takes documents, after as many failures as were asked for."""

    def __init__(self, *, failures: int = 0, refuses: bytes | None = None) -> None:
        self.got: list[bytes] = []
        self.tries = 0
        self._failures, self._refuses = failures, refuses
        self.changed = threading.Condition()

    def __call__(self, document: bytes, _: threading.Event) -> Delivery:
        with self.changed:
            self.tries += 1
            self.changed.notify_all()
            if document == self._refuses:
                return Delivery.REFUSED
            if self._failures:
                self._failures -= 1
                return Delivery.RETRY
            self.got.append(document)
            return Delivery.DELIVERED

    def wait_for(self, count: int) -> list[bytes]:
        with self.changed:
            self.changed.wait_for(lambda: len(self.got) >= count, LONG_S)
        return self.got


def no_wait(_: int) -> float:
    return 0.001


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_documents_arrive_in_order_after_a_receiver_that_was_away(tmp_path: Path) -> None:
    receiver = Receiver(failures=3)
    courier = OutboxSender("test", Spool(tmp_path, LARGE), receiver, wait_s=no_wait)
    for document in numbered(5):
        courier.post(document)
    assert receiver.wait_for(5) == numbered(5)
    assert receiver.tries == 8
    courier.close()


def test_what_is_refused_for_good_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    receiver = Receiver(refuses=b"1")
    courier = OutboxSender("test", Spool(tmp_path, LARGE), receiver, wait_s=no_wait)
    for document in numbered(3):
        courier.post(document)
    assert receiver.wait_for(2) == [b"0", b"2"]
    courier.close()


def test_posting_comes_back_at_once_however_slow_the_receiver_is(tmp_path: Path) -> None:
    let_go = threading.Event()

    def slow(_: bytes, stop: threading.Event) -> Delivery:
        while not (stop.is_set() or let_go.wait(0.01)):
            pass
        return Delivery.RETRY

    courier = OutboxSender("test", Spool(tmp_path, LARGE), slow)
    began_s = time.monotonic()
    for document in numbered(100):
        courier.post(document)
    assert time.monotonic() - began_s < 0.5
    courier.close()


def test_what_did_not_arrive_before_the_end_arrives_after_the_next_start(tmp_path: Path) -> None:
    away = Receiver(failures=1000)
    courier = OutboxSender("test", Spool(tmp_path, LARGE), away, wait_s=lambda _: LONG_S)
    for document in numbered(3):
        courier.post(document)
    gives_up_s = time.monotonic() + LONG_S
    while len(list(tmp_path.glob("*.json"))) < 3:
        assert time.monotonic() < gives_up_s
        time.sleep(0.01)
    began_s = time.monotonic()
    courier.close()
    assert time.monotonic() - began_s < 1.5
    back = Receiver()
    again = OutboxSender("test", Spool(tmp_path, LARGE), back)
    assert back.wait_for(3) == numbered(3)
    again.close()


def test_what_is_posted_right_before_the_end_still_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sinks.outbox.CLOSE_WAIT_S", LONG_S)  # over when it has arrived, however slow the disk
    receiver = Receiver()
    courier = OutboxSender("test", Spool(tmp_path, LARGE), receiver)
    courier.post(b"0")
    began_s = time.monotonic()
    courier.close()
    assert time.monotonic() - began_s < LONG_S / 4
    assert receiver.got == [b"0"]


def test_a_failure_that_nobody_foresaw_is_tried_again_like_any_other(tmp_path: Path) -> None:
    receiver = Receiver()
    calls = []

    def breaks_once(document: bytes, stop: threading.Event) -> Delivery:
        calls.append(document)
        if len(calls) == 1:
            raise RuntimeError("boom")
        return receiver(document, stop)

    courier = OutboxSender("test", Spool(tmp_path, LARGE), breaks_once, wait_s=no_wait)
    courier.post(b"0")
    assert receiver.wait_for(1) == [b"0"]
    courier.close()
