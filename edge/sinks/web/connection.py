"""uvicorn's HTTP connection with one idle timer. Imports uvicorn, so only the server's thread imports this module."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Aborts a connection that sends no whole request, or reads nothing of a response, for `timeout_keep_alive`.

    uvicorn's own timer starts only after the first response and stops at the next byte received.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
