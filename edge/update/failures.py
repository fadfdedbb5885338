"""Events of model updates that fail: one when the failure begins, one for each other reason, one when it is over."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edge.errors import UserError, reason_of
from edge.messages import PROBLEM, RECOVERED, Event, UpdateEvent
from edge.run_status import RunStatus
from edge.update.store import ModelStore

log = logging.getLogger(__name__)

FILE = "failure"  # of the store: the failure that was published and is not over
DETAILS = re.compile(r"\(.*\)|\b\d+(\.\d+)?\b")
"""Times, counts and what stands in brackets: the same failure may have others at the next check."""


class FailureEvents:
    """Turns the problem of model updates into events.

    The failure that was published is kept on disk, so that a restart does not publish it again.

    Args:
        now: the wall clock in UTC.

    Example:
        >>> events = FailureEvents(store)
        >>> events.update("base 01e12d1af291 was rolled back: it takes 16.0 ms per pass, the old one 10.0 ms", status)
        >>> events.publish(print)
        UpdateEvent(id='20261127T031500Z-update-3f9a', number=1, kind='problem', …)
    """

    def __init__(self, store: ModelStore, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store, self._now = store, now
        self._open = _valid(store.read_json(FILE))
        self._is_unsaved = False
        self._is_save_error_logged = False
        self._next: UpdateEvent | None = None

    def update(self, problem: str, status: RunStatus) -> None:
        """Make an event if the problem has changed, and save what was published; always in one thread.

        Args:
            problem: why the last update failed; empty if it did not.
            status: of the run, for the event.
        """
        if self._next:  # not published yet
            return
        self.save()
        before = self._open.get("problem", "")
        if DETAILS.sub("", problem) == DETAILS.sub("", before):
            return
        now = self._now()
        id_ = self._open.get("id") or f"{now:%Y%m%dT%H%M%SZ}-update-{secrets.token_hex(2)}"
        number, kind = self._open.get("number", 0) + 1, PROBLEM if problem else RECOVERED
        self._open = {"id": id_, "number": number, "problem": problem} if problem else {}
        self._is_unsaved = True
        time = now.isoformat(timespec="milliseconds")
        self._next = UpdateEvent(id_, number, kind, problem or before, time, status.model_sha256, status.source)

    def save(self) -> None:
        """Save what was published, so that a restart does not publish it again."""
        if self._is_unsaved and not self._next:
            try:
                self._store.write_json(FILE, self._open)
                self._is_unsaved = self._is_save_error_logged = False
            except (OSError, UserError) as error:  # such as a full disk: again at the next call
                if not self._is_save_error_logged:
                    log.warning(
                        "update: a failure could not be saved (%s): a restart publishes it again", reason_of(error)
                    )
                self._is_save_error_logged = True

    def publish(self, to: Callable[[Event], None]) -> None:
        """Hand over the event that was made, if there is one; in the loop's thread."""
        if event := self._next:
            to(event)
            self._next = None


def _valid(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the file; nothing if it is damaged."""
    match values:
        case {"id": str(), "number": int(), "problem": str()}:
            return values
    return {}
