"""A queue of JSON documents on disk that survives restarts and kills; in memory while the disk is not usable.

Each document is one numbered file. The last delivered event of a fire that has not ended stays as `open-ID.json`, so
that the next run can end the fire. Documents that cannot be delivered are set aside in `dead/`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import UserError, counted, reason_of
from edge.files import write_durably
from edge.sinks.queue_files import interrupted_ends, lock_folder, move_aside, read_document, retire

log = logging.getLogger(__name__)

BLOCK_BYTES = 4096  # disk space of a small file
MAX_MEMORY_BYTES = 4e6  # memory for events while the disk is not writable
MAX_READS = 3  # failed reads of one document before the next is tried
UNSTORED_S = 2.0  # a document that the disk does not take is sent after this time, without a copy on disk
RETRY_S = 5.0  # how often a folder that cannot be used is tried again


@dataclass(eq=False)
class Item:
    """One document in a queue."""

    number: int
    size_bytes: int
    data: bytes | None = None  # if it is not on disk
    made_s: float = field(default_factory=time.monotonic)
    held: bool = False  # not to be sent yet: other receivers still store the same event
    written: threading.Event = field(default_factory=threading.Event)  # set after the first attempt to write it
    failed_reads: int = 0


class DiskQueue:
    """A thread-safe queue of JSON documents. An empty queue writes nothing.

    `add`, `len` and `counts` never wait for the disk. One thread calls `write_pending`, another `head` and `remove`.

    Args:
        folder: used by this queue alone; created if missing.
        max_bytes: limit on disk; the oldest documents are dropped first.
        max_memory_bytes: limit for documents that could not be written.
        retry_s: how often a folder that cannot be used is tried again.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: float,
        *,
        max_memory_bytes: float = MAX_MEMORY_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self.folder, self._max_bytes, self._max_memory_bytes = folder, max_bytes, max_memory_bytes
        self.retry_s = retry_s
        self.dropped = self.dead_letters = 0
        self._lock = threading.Lock()  # of the items; never held during disk access
        self._disk = threading.Lock()  # of taking over the folder
        self._handle: int | None = None
        self._tried_s = float("-inf")
        self._problem = ""
        self._is_full = self._ends_due = False
        self._items: deque[Item] = deque()
        self._next = 1
        self._use_folder()
        self._drop_excess()

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def counts(self) -> tuple[int, int]:
        """Return how many documents are on disk, and how many are only in memory."""
        with self._lock:
            unstored = sum(item.data is not None for item in self._items)
            return len(self._items) - unstored, unstored

    @property
    def oldest_age_s(self) -> float:
        with self._lock:
            return time.monotonic() - self._items[0].made_s if self._items else 0.0

    def add(self, data: bytes, *, held: bool = False) -> Item:
        """Append a document in memory; `write_pending` writes it."""
        with self._lock:
            item = Item(self._next, len(data), data, held=held)
            self._items.append(item)
            self._next += 1
            unstored = [each for each in self._items if each.data is not None]
            excess = sum(each.size_bytes for each in unstored) - self._max_memory_bytes
            while excess > 0:
                oldest = unstored.pop(0)
                self._items.remove(oldest)
                excess -= oldest.size_bytes
                self._count_dropped(1)
        return item

    def put(self, data: bytes) -> None:
        """Append a document; it is on disk when this returns, if the disk is writable."""
        self.add(data)
        self.write_pending()

    def write_pending(self) -> bool:
        """Write the documents that are only in memory, oldest first. Return whether all are on disk."""
        self._use_folder()
        self._end_open_fires()
        with self._lock:
            pending, problem = [item for item in self._items if item.data is not None], ""
        for item in pending:
            if self._handle is not None and (data := item.data) is not None:
                try:
                    write_durably(self._path(item), data)
                    self._note_written(item, data)
                except (UserError, OSError) as error:
                    problem = f"{self.folder} cannot be written ({reason_of(error.__cause__ or error)})"
            item.written.set()
        if pending and self._handle is not None:
            self._report(problem)
        self._drop_excess()
        return self._handle is not None and not self.counts()[1]

    def head(self, *, after: Item | None = None) -> tuple[Item, bytes] | None:
        """Return the oldest document to send, or the oldest after another; None if there is none.

        Sets unreadable documents aside. Raises `OSError` if the disk cannot be read at the moment.
        """
        self._end_open_fires()
        unreadable: list[tuple[Item, OSError]] = []
        for item in self._sendable(after):
            if (data := item.data) is not None:
                return item, data
            try:
                data = read_document(self._path(item))
            except FileNotFoundError as error:
                if not self.folder.is_dir():
                    raise OSError(f"{self.folder} is missing") from error
                log.error("%s is missing: its event is lost", self._path(item).name)
                self._forget(item, dropped=True)
            except (ValueError, RecursionError) as error:
                self.set_aside(item, f"unreadable: {error}")
            except OSError as error:
                item.failed_reads += 1
                if item.failed_reads < MAX_READS:
                    raise
                unreadable.append((item, error))
            else:
                for broken, reason in unreadable:  # others can be read: it is not the disk
                    self.set_aside(broken, f"unreadable: {reason.strerror}")
                return item, data
        return None

    def remove(self, item: Item, data: bytes) -> None:
        """Remove a document after delivery; no effect if the limit already dropped it."""
        if self._forget(item):
            self._retire(item, data)

    def set_aside(self, item: Item, reason: str) -> None:
        """Move a document that cannot be delivered to the folder of dead letters."""
        if not self._forget(item):
            return
        self.dead_letters += 1
        path = self._path(item)
        try:
            log.error("%s is set aside in %s: %s", path.name, move_aside(path, item.data), reason)
        except (UserError, OSError) as error:
            log.error("%s is skipped: %s; it cannot be set aside (%s)", path.name, reason, error)

    def close(self) -> None:
        """Unlock the folder."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _path(self, item: Item) -> Path:
        return self.folder / f"{item.number:012d}.json"

    def _sendable(self, after: Item | None) -> Iterator[Item]:
        """Yield the documents that may be sent now, oldest first."""
        with self._lock:
            items = list(self._items)
        for item in items[items.index(after) + 1 :] if after in items else items:
            is_tried = item.data is None or item.written.is_set()
            if item.held or not (is_tried or time.monotonic() - item.made_s > UNSTORED_S):
                return
            yield item

    def _forget(self, item: Item, *, dropped: bool = False) -> bool:
        """Take an item out of the queue. Return False if it no longer was in it."""
        with self._lock:
            if item not in self._items:
                return False
            self._items.remove(item)
            self._is_full = False
            self.dropped += dropped
        return True

    def _note_written(self, item: Item, data: bytes) -> None:
        with self._lock:
            is_waiting = item in self._items
            if is_waiting:
                item.data = None
        if not is_waiting:  # delivered while the disk was slow
            self._retire(item, data)

    def _retire(self, item: Item, data: bytes) -> None:
        """Delete the file of a delivered document; keep the last event of a fire that has not ended."""
        if self._handle is None:  # the folder belongs to another run
            return
        with suppress(OSError):  # a read-only disk: the event is delivered again after a restart
            retire(self._path(item), data)

    def _drop_excess(self) -> None:
        with self._lock:
            sizes = [-(-item.size_bytes // BLOCK_BYTES) * BLOCK_BYTES for item in self._items]
            excess, dropped = sum(sizes) - self._max_bytes, []
            for size in sizes:
                if excess <= 0:
                    break
                excess -= size
                dropped.append(self._items.popleft())
            if dropped:
                self._count_dropped(len(dropped))
        for item in dropped:
            if self._handle is not None:
                with suppress(OSError):
                    self._path(item).unlink(missing_ok=True)

    def _count_dropped(self, count: int) -> None:
        self.dropped += count
        if not self._is_full:
            log.error("outbox is full: %s lost, and more while nothing is delivered", counted(count, "oldest event"))
        self._is_full = True

    # Taking over the folder: at the start, or later when it can be used.

    def _use_folder(self) -> None:
        """Lock the folder and take over its documents, if that was not possible before."""
        with self._disk:
            now_s = time.monotonic()
            if self._handle is not None or now_s - self._tried_s < self.retry_s:
                return
            self._tried_s = now_s
            try:
                handle, documents, first = lock_folder(self.folder)
            except OSError as error:
                self._report(f"{self.folder} cannot be used ({reason_of(error)})")
                return
            written = threading.Event()
            written.set()
            stored = [Item(number, size, None, now_s - age_s, written=written) for number, size, age_s in documents]
            with self._lock:
                self._next = first
                for item in self._items:  # none of these is on disk
                    item.number, self._next = self._next, self._next + 1
                self._items.extendleft(reversed(stored))
            self._handle, self._ends_due = handle, True
            self._report("")

    def _end_open_fires(self) -> None:
        """Append an end for each fire that an earlier run left open. No document is sent before."""
        with self._disk:
            if not self._ends_due:
                return
            with self._lock:
                paths = [self._path(item) for item in self._items if item.data is None]
            ends = interrupted_ends(self.folder, paths)
            self._ends_due = False
        for end in ends:
            self.add(end)
        if ends:
            log.info("%s left open by an earlier run: the end follows", counted(len(ends), "fire"))

    def _report(self, problem: str) -> None:
        """Log a problem with the disk when it begins and when it ends."""
        if problem != self._problem and problem:
            log.warning("events are kept in memory: %s", problem)
        elif problem != self._problem:
            log.info("events are written to %s again", self.folder)
        self._problem = problem
