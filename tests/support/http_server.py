"""An HTTP server with injectable faults, and an unused address."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.support.small_set import Files


class FileServer(ThreadingHTTPServer):
    """Serves a few files over a real socket. Each queued fault applies to one response."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: Files = {}
        self.ranges: list[str | None] = []  # the Range header of each request
        self.cut_after_bytes: list[int] = []  # queued: break the connection after this many bytes of the body
        self.statuses: list[int] = []  # queued: answer with this status
        self.honours_range = True
        self.range_max_bytes = 1 << 30
        self.etag = '"first"'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, name = self.server, unquote(self.path.partition("?")[0]).lstrip("/")
        server.ranges.append(self.headers.get("Range"))
        status = server.statuses.pop(0) if server.statuses else 200 if name in server.files else 404
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = server.files[name], 0
        if server.honours_range and "Range" in self.headers and self.headers.get("If-Range") == server.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = data[start:][: server.range_max_bytes if start else None]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut_after_bytes = server.cut_after_bytes.pop(0) if server.cut_after_bytes else None
        self.wfile.write(body[:cut_after_bytes])
        if cut_after_bytes is not None:
            self.close_connection = True


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
