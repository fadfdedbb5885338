"""An answer that goes on until the viewer leaves or the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.sinks.web.bell import Closed


class Stream(Response):
    """Sends what `chunks` gives, and closes it at once when the viewer is gone.

    Starlette's own notices that only by the next chunk, and leaves the generator to the garbage collector: neither
    would do for counting who watches.
    """

    def __init__(self, request: Request, media_type: str, chunks: Callable[[], AsyncIterator[bytes]]) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._asked = request.method != "HEAD"
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._asked:
            tasks = [asyncio.create_task(self._send(send)), asyncio.create_task(gone(receive))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send) -> None:
        with suppress(Closed):
            async with aclosing(cast(AsyncGenerator[bytes, None], self._chunks())) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def gone(receive: Receive) -> None:
    """Ends when the viewer does."""
    while (await receive())["type"] != "http.disconnect":
        pass
