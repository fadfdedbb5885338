"""What waits to be delivered: in order, on the disk, within bounds; in memory where the disk takes no more.

Each item is a file of its own, named by its number and complete before it has that name, so that a power cut costs
nothing that was put before it. Without anything to deliver nothing is written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import tempfile
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UserError
from edge.files import write_durably

log = logging.getLogger(__name__)

SUFFIX = ".json"
BLOCK_BYTES = 4096
"""What a small file takes of a disk."""
NAME = re.compile(rf"[0-9]{{12}}{re.escape(SUFFIX)}")
MEMORY_BYTES = 4e6
"""So much is kept in memory at most while the disk takes nothing."""


@dataclass
class Item:
    """Something to deliver."""

    number: int
    size_bytes: int
    """Its own; on a disk it takes whole blocks."""
    data: bytes | None = None
    """Its content, where it could not be written."""

    @property
    def block_bytes(self) -> int:
        return -(-self.size_bytes // BLOCK_BYTES) * BLOCK_BYTES


class Spool:
    """A queue of JSON documents that outlives the process. May be used by several threads.

    Args:
        folder: of this queue alone; made where it is missing.
        max_bytes: what it holds at most; the oldest go first.
    """

    def __init__(self, folder: Path, max_bytes: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._handle = _claim(folder)
        self._items: deque[Item] = deque(self._find() if self._handle is not None else ())
        self._next = self._items[-1].number + 1 if self._items else 1
        self._held_bytes = sum(item.block_bytes for item in self._items)
        self._memory_bytes = 0
        """Of those that could not be written."""
        self._keep_bounds()

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def put(self, data: bytes) -> None:
        """Keep a document until it is `done`; on the disk when this comes back, if the disk lets it."""
        with self._lock:
            item = Item(self._next, len(data), data)
            self._items.append(item)
            self._held_bytes += item.block_bytes
            self._memory_bytes += item.size_bytes
            self._next += 1
            self._write_down()
            self._keep_bounds()

    def head(self) -> tuple[Item, bytes] | None:
        """The oldest document; None where nothing waits.

        Raises `OSError` where the disk does not give it at the moment.
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
                        raise OSError(f"{self._folder} is gone") from error
                    log.error("%s cannot be read (%s): what it told is lost", self._path(item).name, error)
                    self._drop()
                else:
                    return item, data
            return None

    def done(self, item: Item) -> None:
        """Forget a document that was delivered. One that had to go meanwhile is no matter."""
        with self._lock:
            if self._items and self._items[0] is item:
                self._drop()

    def close(self) -> None:
        """Let others use the folder."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _path(self, item: Item) -> Path:
        return self._folder / f"{item.number:012d}{SUFFIX}"

    def _find(self) -> list[Item]:
        """What an earlier run left. What it had begun to write has another name, and goes."""
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                if NAME.fullmatch(path.name):
                    found.append(Item(int(path.stem), path.stat().st_size))
                elif path.name.startswith("."):
                    path.unlink()
        return sorted(found, key=lambda item: item.number)

    def _write_down(self) -> None:
        """Write what is in memory alone, the oldest first."""
        if self._handle is None or not self._memory_bytes:
            return
        for item in self._items:
            if item.data is None:
                continue
            try:
                write_durably(self._path(item), item.data)
            except UserError as error:
                log.warning("events wait in memory: %s", error)
                return
            item.data = None
            self._memory_bytes -= item.size_bytes

    def _keep_bounds(self) -> None:
        lost = 0
        while self._items and (self._held_bytes > self._max_bytes or self._memory_bytes > MEMORY_BYTES):
            self._drop()
            lost += 1
        if lost:
            log.error("%d events that could not be delivered are lost: too many wait", lost)

    def _drop(self) -> None:
        item = self._items.popleft()
        self._held_bytes -= item.block_bytes
        self._memory_bytes -= item.size_bytes if item.data is not None else 0
        if self._handle is None:  # what lies in the folder is another run's
            return
        with suppress(OSError):  # on a disk that became read-only: it will be delivered again after a restart
            self._path(item).unlink(missing_ok=True)


def spool_folder(given: str) -> Path:
    """Where things wait: as configured, else where systemd or the desktop's custom keeps a program's state."""
    if given:
        return Path(given)
    if service := os.environ.get("STATE_DIRECTORY"):
        return Path(service.split(":")[0]) / "spool"
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local/state") / "fireseg-edge"
    except RuntimeError:  # a user without a home, as in containers
        return Path(tempfile.gettempdir()) / "fireseg-edge"


def _claim(folder: Path) -> int | None:
    """The folder's handle, locked for us; None where it cannot be had, and everything stays in memory."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        log.warning("%s cannot be used (%s): events that cannot be delivered wait in memory", folder, error.strerror)
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        log.warning("%s is used by another run: events that cannot be delivered wait in memory", folder)
        return None
    return handle
