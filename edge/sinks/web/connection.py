"""uvicorn's HTTP connection, limited in number and idle time. Only the server's thread imports this module."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.sinks.web.auth import SIGNED_IN
from edge.sinks.web.guesses import network_of

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 80  # more than the viewers of frames and of the state together, which may hold theirs for ever


class Connection(H11Protocol):
    """Makes room above the limit, and aborts a connection that is idle for `timeout_keep_alive`.

    Idle connections send no whole request, or read nothing of a response. uvicorn's own limit only refuses requests,
    and its timer starts after the first response and stops at the next byte received.
    """

    _timer: asyncio.TimerHandle | None = None
    _network = ""
    _active_s = 0.0  # when it last became idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._network = network_of(self.client[0]) if self.client else ""
        self._restart_timer()
        others = [each for each in self.connections if each is not self and not each.transport.is_closing()]
        if len(others) >= MAX_CONNECTIONS:
            leaver = choose_leaver([each for each in others if isinstance(each, Connection)]) or self
            log.warning(
                "the live page drops a connection of %s: %d are open, its limit", leaver._network, MAX_CONNECTIONS
            )
            leaver.transport.abort()

    @property
    def is_signed_in(self) -> bool:
        """Whether its last request was allowed."""
        return bool(self.scope and self.scope.get("state", {}).get(SIGNED_IN))

    @property
    def awaits_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        self._restart_timer()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def _restart_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._active_s = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._abort_if_idle)

    def _abort_if_idle(self) -> None:
        if self.awaits_request or self.flow.write_paused:
            self.transport.abort()


def choose_leaver(connections: list[Connection]) -> Connection | None:
    """Return the connection to give up for a new one, so that no client locks out the owner or a health check.

    The one that has been idle longest, of the network with most connections that are not signed in. If all are signed
    in, one that awaits a request; None if all are at work.
    """
    strangers = [each for each in connections if not each.is_signed_in]
    candidates = strangers or [each for each in connections if each.awaits_request]
    counts = Counter(each._network for each in candidates)
    return max(candidates, key=lambda each: (counts[each._network], -each._active_s), default=None)
