"""uvicorn's HTTP connection, limited in number and idle time. Only the server's thread imports this module."""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64


class Connection(H11Protocol):
    """Aborts a connection above the limit, or one that is idle for `timeout_keep_alive`.

    Idle connections send no whole request, or read nothing of a response. uvicorn's own limit only refuses requests,
    and its timer starts after the first response and stops at the next byte received.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            host = self.client[0] if self.client else "a client"
            log.warning("the live page refuses %s: %d connections are open, its limit", host, MAX_CONNECTIONS)
            transport.abort()
        self._restart_timer()

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
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._abort_if_idle)

    def _abort_if_idle(self) -> None:
        awaits_request = self.cycle is None or self.cycle.response_complete
        if awaits_request or self.flow.write_paused:
            self.transport.abort()
