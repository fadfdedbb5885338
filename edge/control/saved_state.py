"""State that survives a restart: a small JSON object on disk for each camera, written in another thread.

It holds settings made by actions, such as a snooze, and never pictures.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from edge.errors import UserError, reason_of
from edge.files import read_limited, write_durably
from edge.threads import Worker

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
RETRY_S = 30.0
CLOSE_S = 0.5


class SavedState:
    """Values by key, read once and written whenever one changes.

    A file that cannot be read is logged and counts as empty; one that cannot be written is logged once and retried.

    Args:
        path: of the file; its folder is created with the first value.

    Example:
        >>> state = SavedState(Path("camera.json"))
        >>> state["snoozed_until"] = "2026-11-26T18:00:00+00:00"
        >>> state.close()
        >>> SavedState(Path("camera.json")).get("snoozed_until")
        '2026-11-26T18:00:00+00:00'
    """

    def __init__(self, path: Path, *, retry_s: float = RETRY_S) -> None:
        self._path, self._retry_s = path, retry_s
        self._values = _read(path)
        self._lock = threading.Lock()
        self._changed, self._closing = threading.Event(), False
        self._worker: Worker | None = None
        self.problem = ""
        """Why the file could not be written; empty once it is."""
        self.failures = 0
        """How often writing began to fail."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, as JSON holds it."""
        with self._lock:
            return self._values.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value that JSON can represent; None removes it. Never waits for the disk."""
        with self._lock:
            if self._values.get(key) == value:
                return
            self._values[key] = value
            if value is None:
                del self._values[key]
        self._changed.set()
        if self._worker is None:
            self._worker = Worker("saved state", self._write_all)
            self._worker.start()

    def close(self) -> None:
        """Write pending changes, within half a second."""
        self._closing = True
        self._changed.set()
        if self._worker:
            self._worker.join(CLOSE_S)

    def _write_all(self) -> None:
        while True:
            self._changed.wait(self._retry_s if self.problem else None)
            self._changed.clear()
            is_last = self._closing  # before writing: what was set until now is written
            self._write()
            if is_last:
                return

    def _write(self) -> None:
        with self._lock:
            text = json.dumps(self._values, indent=2)
        try:
            write_durably(self._path, f"{text}\n".encode())
        except (UserError, OSError) as error:
            if not self.problem:
                self.failures += 1
                log.error("arming, quiet places and drills will be lost with a restart: %s", reason_of(error))
            self.problem = reason_of(error)
            return
        if self.problem:
            log.info("%s is written again", self._path)
        self.problem = ""


def state_path(folder: Path, source_address: str) -> Path:
    """Return the file of one camera; its address is hashed, since it may hold a password."""
    return folder / f"camera-{hashlib.sha256(os.fsencode(source_address)).hexdigest()[:12]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.exists():
            return {}
        values = json.loads(read_limited(path, MAX_BYTES, "delete it"))
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
    except (OSError, UserError, ValueError, RecursionError) as error:
        log.error("%s is ignored (%s): arming, quiet places and drills so far are lost", path, reason_of(error))
        return {}
    return values
