"""Durable delivery of events to one receiver: in order, at least once, without blocking the loop.

One thread writes each event to a queue on disk, another sends the oldest until the receiver accepts it. Events thus
survive an unreachable receiver, a slow one, a restart and a power cut. A receiver drops copies by `id` and `number`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge.errors import counted, one_line, reason_of
from edge.messages import CameraEvent, Event, FireEvent, UpdateEvent
from edge.retry import backoff_s
from edge.run_status import Delivered, ReceiverStatus
from edge.sinks import SHUTDOWN_GRACE_S, Sink
from edge.sinks.disk_queue import DiskQueue, Item
from edge.sinks.queue_files import as_event
from edge.threads import Worker

log = logging.getLogger(__name__)

RECHECK_S = 2.0  # how often the sender looks for documents that nothing announced
TRIES_ALONE = 8
"""Failures after which the next document is tried. If it passes, the first is at fault, not the receiver."""


class RejectedError(Exception):
    """The receiver will never accept this document; says why, and what to do."""


Deliver = Callable[[bytes, threading.Event], bool]
"""Delivers one document, and returns whether the receiver accepted it; otherwise it is retried.

Raises `RejectedError` to set it aside. Any other exception is a reason to retry. It may block for as long as its
time-out; where it can, it returns soon after the event is set.
"""


class Outbox:
    """Sends documents to one receiver, with back-off after failures.

    Args:
        name: of the receiver, for the log.
        waiting: documents still to be delivered; closed with the outbox.
        deliver: called in another thread.
        wait_s: seconds to wait after a number of failures in a row.
        grace_s: how long `close` takes at most; the rest is sent after the next start.
    """

    def __init__(
        self,
        name: str,
        waiting: DiskQueue,
        deliver: Deliver,
        *,
        wait_s: Callable[[int], float] = backoff_s,
        grace_s: float = SHUTDOWN_GRACE_S,
    ) -> None:
        self._name, self._waiting, self._deliver = name, waiting, deliver
        self._wait_s, self._grace_s = wait_s, grace_s
        self._made = self._delivered = self._retries = self._failures = 0
        self._problem = ""
        self._last_delivered: Delivered | None = None
        self._closing, self._stop = False, threading.Event()
        self._work, self._wake = threading.Event(), threading.Event()  # of the writer, of the sender
        self._writer = Worker(f"{name} outbox writer", self._write_all)
        self._sender = Worker(f"{name} outbox sender", self._send_all)
        self._writer.start()
        self._sender.start()

    def store(self, document: bytes) -> Item:
        """Queue a JSON document, to be sent after `send`; never blocks. `Item.written` is set once it is on disk."""
        self._made += 1
        item = self._waiting.add(document, held=True)
        self._work.set()
        return item

    def send(self, item: Item) -> None:
        """Let a document be sent."""
        item.held = False
        self._wake.set()

    def status(self, name: str, problem: str = "") -> ReceiverStatus:
        """Return the state of delivery; `problem` is that of the connection."""
        waiting = self._waiting
        return ReceiverStatus(
            name=name,
            problem=problem or self._problem,
            made=self._made,
            delivered=self._delivered,
            dropped=waiting.dropped,
            dead_letters=waiting.dead_letters,
            retries=self._retries,
            waiting=len(waiting),
            oldest_age_s=waiting.oldest_age_s,
            last_delivered=self._last_delivered,
        )

    def close(self) -> None:
        """Store all queued documents and let deliveries finish, within the grace period."""
        deadline_s = time.monotonic() + self._grace_s
        self._closing = True
        self._work.set()
        self._writer.join(self._grace_s)
        while len(self._waiting) and self._sender.is_alive() and time.monotonic() < deadline_s - self._grace_s / 2:
            time.sleep(0.01)
        self._stop.set()
        self._wake.set()
        self._sender.join(max(0.0, deadline_s - time.monotonic()))
        stored, unstored = self._waiting.counts()
        if stored:
            log.warning("%s: %s will be sent after the next start", self._name, counted(stored, "event"))
        if unstored:
            log.error("%s: %s lost: they could not be stored", self._name, counted(unstored, "event"))

    # The writer's thread.

    def _write_all(self) -> None:
        is_stored = False
        while True:
            self._work.wait(None if is_stored else self._waiting.retry_s)
            self._work.clear()
            is_closing = self._closing  # before writing: what was queued until now is written
            is_stored = self._waiting.write_pending()
            self._wake.set()
            if is_closing:
                return

    # The sender's thread.

    def _send_all(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            if not self._stop.is_set():  # not before `clear`: `close` sets this, then wakes
                self._send_next()
        self._waiting.close()  # not before: another run would also send the event that is on its way

    def _send_next(self) -> None:
        """Send the oldest document, or wait for one, or after a failure."""
        try:
            head = self._waiting.head()
            if head is None:
                self._wake.wait(RECHECK_S if len(self._waiting) else None)
                return
            is_done = self._try(*head) or self._set_aside_alone(*head)
        except OSError as error:  # of the disk
            is_done = self._fail(error)
        if is_done:
            self._failures = 0
            return
        self._failures += 1
        self._retries += 1
        self._stop.wait(self._wait_s(self._failures))

    def _try(self, item: Item, document: bytes) -> bool:
        """Send a document. Return whether it left the queue."""
        try:
            if not self._deliver(document, self._stop):
                return False
        except RejectedError as error:
            self._problem = one_line(str(error))
            self._waiting.set_aside(item, f"{self._name} rejected it: {self._problem}")
            return True
        except Exception as error:  # any kind: the next attempt may succeed
            return self._fail(error)
        self._delivered += 1
        if event := as_event(document):
            took_ms = 1000 * (time.monotonic() - item.made_s)
            self._last_delivered = Delivered(event["id"], event["number"], took_ms)
        self._waiting.remove(item, document)
        if self._problem:
            log.info("%s accepts events again", self._name)
        self._problem = ""
        return True

    def _fail(self, error: Exception) -> bool:
        """Log a failure, once for several in a row of one kind; return False."""
        problem = one_line(reason_of(error))
        previous, self._problem = self._problem, problem
        if problem != previous:
            log.warning("%s: delivery failed (%s), will retry", self._name, problem)
        return False

    def _set_aside_alone(self, item: Item, document: bytes) -> bool:
        """Set a document aside that fails again and again while the next one passes."""
        if (self._failures + 1) % TRIES_ALONE:
            return False
        following = self._waiting.head(after=item)
        if following is None or not self._try(*following):
            return False
        # Again, since the receiver may have recovered just before.
        if not self._try(item, document) and not self._stop.is_set():
            self._waiting.set_aside(item, f"{self._name} fails on it and accepts others: {self._problem}")
        return True


class OutboxSink(Sink):
    """A sink that delivers every event to one receiver through an outbox.

    Args:
        receiver: its name in the status.
    """

    def __init__(self, receiver: str, outbox: Outbox) -> None:
        self._receiver, self._outbox = receiver, outbox
        self._stored: tuple[Event, Item | None] | None = None

    def document(self, event: Event) -> dict[str, Any] | None:
        """Return what the receiver gets for an event, None for nothing; called once for each event."""
        return event.as_json()

    def store_event(self, event: Event) -> threading.Event | None:
        document = self.document(event)
        item = None if document is None else self._outbox.store(json.dumps(document).encode())
        self._stored = event, item
        return item.written if item else None

    def on_event(self, event: FireEvent) -> None:
        self._send(event)

    def on_camera_event(self, event: CameraEvent) -> None:
        self._send(event)

    def on_update_event(self, event: UpdateEvent) -> None:
        self._send(event)

    def _send(self, event: Event) -> None:
        if self._stored is None or self._stored[0] is not event:
            self.store_event(event)
        assert self._stored is not None
        if item := self._stored[1]:
            self._outbox.send(item)
        self._stored = None

    def receivers(self) -> Sequence[ReceiverStatus]:
        return (self._outbox.status(self._receiver, self.connection_problem()),)

    def connection_problem(self) -> str:
        """Return why the receiver cannot be reached at the moment; empty if that shows only with an event."""
        return ""

    def close(self) -> None:
        self._outbox.close()
