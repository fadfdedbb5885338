"""How the loop's thread wakes those who wait in the server's: at next to no cost where nobody waits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the loop's thread must not wait for asyncio to be loaded
    import asyncio


class Closed(Exception):
    """The run ends, and nothing more will come."""


class Notifier:
    """Rung by any thread; waited for in the server's event loop alone."""

    def __init__(self) -> None:
        self.rung = 0
        """How often, so that who was busy meanwhile sees that he missed one."""
        self._closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        # Counted before looking who waits; who waits enters himself before looking at the count: so none is missed.
        self.rung += 1
        for waiting in tuple(self._waiting):
            with suppress(RuntimeError):  # the server's loop has just ended
                waiting.get_loop().call_soon_threadsafe(_wake, waiting)

    def close(self) -> None:
        """Let all that wait, and all that will, end."""
        self._closed = True
        self.ring()

    async def wait(self, seen: int) -> int:
        """Wait until it has rung more often than `seen`; gives how often. Raises `Closed` at the end."""
        import asyncio

        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            if self.rung == seen and not self._closed:
                await waiting
        finally:
            self._waiting.discard(waiting)
        if self._closed:
            raise Closed
        return self.rung


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
