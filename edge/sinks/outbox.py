"""Durable delivery of events to one receiver: in order, at least once, without blocking the loop.

One thread writes each event to a queue on disk, another sends the oldest until the receiver accepts it. Events thus
survive an unreachable receiver, a slow one, a restart and a power cut. A receiver drops copies by `id` and `number`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UserError
from edge.files import write_durably
from edge.retry import backoff_s
from edge.sinks import SHUTDOWN_GRACE_S

log = logging.getLogger(__name__)

FILE_NAME = re.compile(r"[0-9]{12}\.json")
BLOCK_BYTES = 4096  # disk space of a small file
MAX_MEMORY_BYTES = 4e6  # memory for events while the disk is not writable


Deliver = Callable[[bytes, threading.Event], bool]
"""Delivers one document, and returns whether to remove it: it was accepted, or never will be.

Otherwise it is retried; the outbox logs an exception. It may block, but returns soon after the event is set.
"""


class Outbox:
    """Sends documents to one receiver, with back-off after failures.

    Args:
        name: of the receiver, for the log.
        waiting: documents still to be delivered; closed with the outbox.
        deliver: called in another thread.
        wait_s: seconds to wait after a number of failures in a row.
        grace_s: how long `close` takes at most; what is left is sent after the next start.
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
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._storing = threading.Thread(target=self._store_all, name=f"{name} outbox writer", daemon=True)
        self._sending = threading.Thread(target=self._send_all, name=f"{name} outbox sender", daemon=True)
        self._storing.start()
        self._sending.start()

    def put(self, document: bytes) -> None:
        """Queue a JSON document for delivery; never blocks."""
        self._inbox.put(document)

    def close(self) -> None:
        """Store all queued documents and let deliveries finish, within the grace period."""
        deadline_s = time.monotonic() + self._grace_s
        self._inbox.put(None)
        self._storing.join(self._grace_s)
        while len(self._waiting) and self._sending.is_alive() and time.monotonic() < deadline_s - self._grace_s / 2:
            time.sleep(0.01)
        self._stop.set()
        self._wake.set()
        self._sending.join(max(0.0, deadline_s - time.monotonic()))
        stored, unstored = self._waiting.counts()
        if stored:
            log.warning("%s: %d events will be sent after the next start", self._name, stored)
        if unstored:
            log.error("%s: %d events are lost: they could not be stored", self._name, unstored)

    def _store_all(self) -> None:
        while (document := self._inbox.get()) is not None:
            self._waiting.put(document)
            self._wake.set()

    def _send_all(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            if self._stop.is_set():  # not before `clear`: `close` sets this, then wakes
                break
            try:
                head = self._waiting.head()
                if head is None:
                    self._wake.wait()
                    continue
                item, document = head
                if self._deliver(document, self._stop):
                    self._waiting.remove(item)
                    if failures:
                        log.info("%s accepts events again", self._name)
                    failures = 0
                    continue
            except Exception as error:  # any kind: the thread must survive
                if not failures:
                    log.warning("%s: delivery failed (%s: %s), will retry", self._name, type(error).__name__, error)
            failures += 1
            self._stop.wait(self._wait_s(failures))
        self._waiting.close()  # not before: another run would also send the event that is on its way


@dataclass
class Item:
    """One document in a queue."""

    number: int
    size_bytes: int
    data: bytes | None = None  # if it is not on disk


class DiskQueue:
    """A thread-safe queue of JSON documents that survives restarts; in memory while the disk is not writable.

    Each document is one numbered file, written under a temporary name. An empty queue writes nothing.

    Args:
        folder: used by this queue alone; created if missing.
        max_bytes: limit on disk; the oldest documents are dropped first.
        max_memory_bytes: limit for documents that could not be written.
    """

    def __init__(self, folder: Path, max_bytes: float, *, max_memory_bytes: float = MAX_MEMORY_BYTES) -> None:
        self._folder, self._max_bytes, self._max_memory_bytes = folder, max_bytes, max_memory_bytes
        self._lock = threading.Lock()
        self._handle = _lock_folder(folder)
        self._items: deque[Item] = deque(self._stored_items() if self._handle is not None else ())
        self._next = self._items[-1].number + 1 if self._items else 1
        self._drop_excess()

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def counts(self) -> tuple[int, int]:
        """Return how many documents are on disk, and how many are only in memory."""
        with self._lock:
            unstored = sum(item.data is not None for item in self._items)
            return len(self._items) - unstored, unstored

    def put(self, data: bytes) -> None:
        """Append a document; it is on disk when this returns, if the disk is writable."""
        with self._lock:
            self._items.append(Item(self._next, len(data), data))
            self._next += 1
            self._write_pending()
            self._drop_excess()

    def head(self) -> tuple[Item, bytes] | None:
        """Return the oldest document, or None if the queue is empty.

        Drops unreadable documents. Raises `OSError` if the disk cannot be read at the moment.
        """
        with self._lock:
            while self._items:
                item = self._items[0]
                if item.data is not None:
                    return item, item.data
                try:
                    data = self._path(item).read_bytes()
                    json.loads(data)
                except (FileNotFoundError, ValueError) as error:
                    if not self._folder.is_dir():
                        raise OSError(f"{self._folder} is missing") from error
                    log.error("%s is unreadable (%s): its event is lost", self._path(item).name, error)
                    self._drop_oldest()
                else:
                    return item, data
        return None

    def remove(self, item: Item) -> None:
        """Remove the oldest document after delivery; no effect if the limit already dropped it."""
        with self._lock:
            if self._items and self._items[0] is item:
                self._drop_oldest()

    def close(self) -> None:
        """Unlock the folder."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _path(self, item: Item) -> Path:
        return self._folder / f"{item.number:012d}.json"

    def _stored_items(self) -> list[Item]:
        """Return the documents of an earlier run, and delete its unfinished files."""
        items = []
        for path in self._folder.glob("*.json"):
            with suppress(OSError):
                if FILE_NAME.fullmatch(path.name):
                    items.append(Item(int(path.stem), path.stat().st_size))
                elif path.name.startswith("."):
                    path.unlink()
        return sorted(items, key=lambda item: item.number)

    def _write_pending(self) -> None:
        """Write the documents that are only in memory, oldest first."""
        try:
            for item in self._items:
                if item.data is not None and self._handle is not None:
                    write_durably(self._path(item), item.data)
                    item.data = None
        except (UserError, OSError) as error:
            log.warning("events are kept in memory: %s", error)

    def _drop_excess(self) -> None:
        dropped = 0
        while (
            sum(-(-item.size_bytes // BLOCK_BYTES) * BLOCK_BYTES for item in self._items) > self._max_bytes
            or sum(len(item.data) for item in self._items if item.data) > self._max_memory_bytes
        ):
            self._drop_oldest()
            dropped += 1
        if dropped:
            log.error("outbox is full: the %d oldest events are lost", dropped)

    def _drop_oldest(self) -> None:
        item = self._items.popleft()
        if self._handle is not None:  # otherwise the folder belongs to another run
            with suppress(OSError):  # a read-only disk: the event is delivered again after a restart
                self._path(item).unlink(missing_ok=True)


def outbox_folder(configured: str) -> Path:
    """Return the folder of all outboxes: as configured, else systemd's or the user's state directory."""
    if configured:
        return Path(configured)
    if service := os.environ.get("STATE_DIRECTORY"):
        return Path(service.split(":")[0]) / "spool"
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    except RuntimeError:  # users without a home directory, as in containers
        state = tempfile.gettempdir()
    return Path(state) / "fireseg-edge"


def _lock_folder(folder: Path) -> int | None:
    """Return a locked handle of the folder, or None if it cannot be used: events then stay in memory."""
    handle = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        reason = "another run uses it" if isinstance(error, BlockingIOError) else error.strerror
        log.warning("%s cannot be used (%s): undelivered events are kept in memory", folder, reason)
        if handle is not None:
            os.close(handle)
        return None
    return handle
