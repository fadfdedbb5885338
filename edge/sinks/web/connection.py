"""One viewer's connection, which ends where nothing is asked over it, or nothing of the answer taken."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_S = 5.0
"""To send a whole request's head, from the beginning or from the last answer's end."""
STUCK_S = 30.0
"""To take what waits to be sent: who sleeps or is gone without a word must not hold a place."""


class Connection(H11Protocol):
    """uvicorn's, whose own timeout begins with the first answer only, and ends with the next byte received."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._idle: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        self._expect_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._idle, self._stuck):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck:
            self._stuck.cancel()

    def _expect_request(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = self.loop.call_later(IDLE_S, self._end_where_idle)

    def _end_where_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            # What of the last answer has not been taken by now would keep a proper end waiting for ever.
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()
