"""How many may be connected at once, so that whoever comes, even without the password, takes nothing from the watch.

Descriptors are what there is least of: pictures, events on disk and messages need some, and a process may have 256.
"""

from __future__ import annotations

import errno
import logging
import resource
import socket
import time
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
MOST_OF_ONE = 40
"""Of one address: more than may watch at once, and others still find room. Behind a proxy, all have one address."""
OUR_SHARE = 4
"""Of the descriptors that the process may have, one in so many at most."""
TURNED_AWAY_AT_ONCE = 32
"""Then who watches is served."""
PAUSE_S = 0.9
"""Where no descriptor is left: shorter than asyncio's own pause, and long enough for what it tried before that."""
SILENCE_S = 60.0


def most_connections() -> int:
    """As many as this process can afford."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, soft // OUR_SHARE))


class Door(socket.socket):
    """A listening socket that closes at once who comes when it is full.

    It counts what it has let in and is still open, whatever became of it: by when a server's protocol hears of a
    connection, hundreds may have been accepted.
    """

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self._most = most_connections()
        self._most_of_one = max(1, self._most * MOST_OF_ONE // MOST_CONNECTIONS)
        self._inside: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
        self._pause_until_s = 0.0
        self._warned = Seldom()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next that finds room. Raises `BlockingIOError` where none is left of those that wait, or of patience."""
        for _ in range(TURNED_AWAY_AT_ONCE):
            connection, address = self._accept_any()
            peers = [peer for inside, peer in self._inside.items() if inside.fileno() >= 0]
            if len(peers) < self._most and peers.count(address[0]) < self._most_of_one:
                self._inside[connection] = address[0]
                return connection, address
            connection.close()
            if self._warned.may():
                log.warning(
                    "the web page turns viewers away, as %d are connected: the last was %s", len(peers), address[0]
                )
        raise BlockingIOError

    def _accept_any(self) -> tuple[socket.socket, Any]:
        if time.monotonic() < self._pause_until_s:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # asyncio hears of it once and pauses. It would try, and log that, as often as its backlog is long.
                self._pause_until_s = time.monotonic() + PAUSE_S
            raise


class Seldom(logging.Filter):
    """Lets one record through a minute: what others can bring about must not fill the disk with it."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def may(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + SILENCE_S
        return True

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.may():
            return False
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OSError):  # the network's doing: where in the code it was met tells nobody anything
            first = record.getMessage().splitlines()[0]
            record.msg, record.args, record.exc_info = f"the web page: {first} ({error})", (), None
        return True
