"""Brings events to one receiver, in order and for as long as it takes, without ever holding up the loop.

One thread puts each event into the spool, another delivers the oldest until the receiver has it. So an event survives
a receiver that is away, a slow one, and an end of the process; what a copy looks like is in its id and number.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from enum import Enum, auto

from edge.retry import backoff_s
from edge.sinks.spool import Spool

log = logging.getLogger(__name__)

CLOSE_WAIT_S = 0.8
"""How long an end waits for what is on its way; what is left goes out with the next start."""


class Delivery(Enum):
    """What became of an attempt."""

    DELIVERED = auto()
    RETRY = auto()
    """Try again."""
    REFUSED = auto()
    """It would be refused for ever."""


Deliver = Callable[[bytes, threading.Event], Delivery]
"""Brings one document. May take its time, but once the event is set it comes back in `CLOSE_WAIT_S`."""


class OutboxSender:
    """The two threads of one receiver.

    Args:
        name: of the receiver, for the log.
        wait_s: how long to wait after so many failures in a row.
    """

    def __init__(
        self, name: str, spool: Spool, deliver: Deliver, *, wait_s: Callable[[int], float] | None = None
    ) -> None:
        self._name = name
        self._spool = spool
        self._deliver = deliver
        self._wait_s = wait_s or backoff_s
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"{name} spool", daemon=True)
        self._sender = threading.Thread(target=self._send, name=f"{name} courier", daemon=True)
        self._keeper.start()
        self._sender.start()

    def post(self, document: bytes) -> None:
        """Take a document over; comes back at once."""
        self._inbox.put(document)

    def close(self) -> None:
        """Write down what was posted, and give what is on its way a moment to arrive."""
        ends_s = time.monotonic() + CLOSE_WAIT_S
        self._inbox.put(None)
        self._keeper.join(CLOSE_WAIT_S)
        while len(self._spool) and self._sender.is_alive() and time.monotonic() < ends_s - CLOSE_WAIT_S / 2:
            time.sleep(0.01)
        self._stop.set()
        self._wake.set()
        self._sender.join(max(0.0, ends_s - time.monotonic()))
        if not self._sender.is_alive():  # else what it still brings over would stay in the folder, and come twice
            self._spool.close()
        if waiting := len(self._spool):
            log.warning("%s: %d events wait for the next start", self._name, waiting)

    def _keep(self) -> None:
        while (document := self._inbox.get()) is not None:
            self._spool.put(document)
            self._wake.set()

    def _send(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._wake.clear()
            try:
                head = self._spool.head()
                if head is None:
                    self._wake.wait()
                    continue
                item, document = head
                if self._deliver(document, self._stop) is not Delivery.RETRY:
                    self._spool.done(item)
                    failures = 0
                    continue
            except Exception as error:  # of whatever kind: a thread that ends would deliver nothing ever again
                if not failures:
                    log.error("%s failed (%s: %s): it is tried again", self._name, type(error).__name__, error)
            failures += 1
            self._stop.wait(self._wait_s(failures))
