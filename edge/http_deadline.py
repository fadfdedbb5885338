"""HTTP requests with one deadline for the whole exchange: a machine that sends a byte a second does not block."""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

MAX_RESPONSE_BYTES = 1 << 16
BUFFER_BYTES = 64 << 10


class Answer(NamedTuple):
    status: int
    reason: str
    location: str
    """Where a redirect leads; empty for none."""


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
    """Post a body and return the answer, whatever its status. Redirects are not followed: they would become a GET.

    Raises `OSError`, `ValueError` or `http.client.HTTPException`.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    with opener(_AnyStatus()).open(request, timeout=timeout_s) as response:
        answer = Answer(response.status, response.reason or "", response.headers.get("Location", ""))
        with suppress(OSError, http.client.HTTPException):
            response.read(MAX_RESPONSE_BYTES)  # so that the receiver sees no broken connection
    return answer


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return an opener whose time-out is that of each whole exchange: connection, headers and body."""
    return urllib.request.build_opener(_HttpHandler, _HttpsHandler, *handlers)


def set_deadline(response: http.client.HTTPResponse, deadline_s: float) -> None:
    """Set until when the rest of a response is read, on the `time.monotonic` clock: for a stream that does not end."""
    if response.fp is not None and isinstance(reader := response.fp.raw, _TimedReader):
        reader.deadline_s = deadline_s


def is_readable(response: http.client.HTTPResponse) -> bool:
    """Return whether `read1` returns at once, because bytes of the body have arrived.

    Misses a chunk whose size line is cut by the end of the buffer. A connection that broke is not readable.
    """
    if response.fp is None or not isinstance(reader := response.fp.raw, _TimedReader):
        return False
    reader.waits = False
    try:
        data: bytes = response.fp.peek()
    except OSError:  # also TLS without a whole record
        return False
    finally:
        reader.waits = True
    if response.chunked and not response.chunk_left:  # `read1` would wait for the next chunk's size and first byte
        data = data[2:].partition(b"\n")[2]  # two bytes end the last chunk, or belong to the first size
    return bool(data)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Return every response."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline: each read waits for the remaining time, or not at all."""

    waits = True

    def __init__(self, sock: socket.socket, deadline_s: float) -> None:
        self._sock, self.deadline_s = sock, deadline_s
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self.waits:
            self._sock.settimeout(0)
            return self._raw.readinto(buffer)
        remaining_s = self.deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("no complete answer in time")
        self._sock.settimeout(remaining_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedConnection(http.client.HTTPConnection):
    """A connection for one request; its time-out is that of the whole exchange."""

    def connect(self) -> None:
        self._deadline_s = time.monotonic() + (self.timeout or 0.0)
        super().connect()
        self.sock.settimeout(max(0.001, self._deadline_s - time.monotonic()))  # for the request

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """Return a response that reads until the deadline; a proxy's answer is read by it too."""
        response = http.client.HTTPResponse(sock, *args, **options)
        response.fp.close()
        response.fp = io.BufferedReader(_TimedReader(sock, self._deadline_s), BUFFER_BYTES)
        return response


class _TimedHttpsConnection(_TimedConnection, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TimedConnection, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TimedHttpsConnection, request)
