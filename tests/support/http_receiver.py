"""A real HTTP server that keeps the posts that it receives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.waiting import wait_for


@dataclass
class Receiver:
    """A server that keeps what it receives."""

    codes: list[int] = field(default_factory=list)
    """Responses to the first posts; 204 to all others."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fire?token=secret"

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for body in self.bodies]

    def bodies_after(self, count: int) -> list[bytes]:
        """Return all bodies once there are `count`."""
        wait_for(lambda: len(self.bodies) >= count)
        return self.bodies


@contextmanager
def serving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code = receiver.codes.pop(0) if receiver.codes else 204
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.methods.append(self.command)
            receiver.bodies.append(body)
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield receiver
        server.shutdown()


def urls(folder: Path, *lines: str) -> Path:
    """A file of Apprise URLs, after a comment and an empty line."""
    file = folder / "urls"
    file.write_text("\n".join(("# people", "", *lines)))
    return file
