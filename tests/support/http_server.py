"""A server over a real socket that can be told to misbehave, and an address where none is."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.support.small_set import Files


class Site(ThreadingHTTPServer):
    """A server of a few files that can be told to misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: Files = {}
        self.requests: list[tuple[str, str | None]] = []  # path and Range
        self.cut_after_bytes: list[int] = []  # one for each answer to come that shall break off
        self.honours_range = True
        self.range_at_most_bytes = 1 << 30
        self.etag = '"first"'
        self.statuses: list[int] = []  # for the answers to come
        self.refused: dict[str, int] = {}  # path -> status, always
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of the play

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def counts(self) -> Counter[str]:
        return Counter(path for path, _ in self.requests)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.server, unquote(self.path.partition("?")[0]).lstrip("/")
        with site.lock:
            site.requests.append((path, self.headers.get("Range")))
            status = site.statuses.pop(0) if site.statuses else site.refused.get(path, 200)
            cut_after_bytes = site.cut_after_bytes.pop(0) if site.cut_after_bytes else None
        if path not in site.files:
            status = 404
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = site.files[path], 0
        if site.honours_range and "Range" in self.headers and self.headers.get("If-Range") == site.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = data[start:][: site.range_at_most_bytes if start else None]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut_after_bytes is None else body[:cut_after_bytes])
        if cut_after_bytes is not None:
            self.close_connection = True


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
