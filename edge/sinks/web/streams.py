"""Streamed responses: frames as multipart JPEGs, and files that are generated while they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

MJPEG = "multipart/x-mixed-replace; boundary=frame"
BOUNDARY = b"--frame\r\n"


class Stream(StreamingResponse):
    """Streams a generator and closes it at once when the client leaves, so that viewers are counted right.

    Starlette leaves the generator to the garbage collector if the client stopped reading, and streams to HEAD too.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body"})
            return
        assert isinstance(self.body_iterator, AsyncGenerator)
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


async def mjpeg(jpegs: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Frame JPEGs as multipart. Each part ends with the next boundary: browsers wait for it to show the part."""
    yield BOUNDARY
    async with aclosing(jpegs):
        async for jpeg in jpegs:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            yield head + jpeg + b"\r\n" + BOUNDARY
