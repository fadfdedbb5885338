"""A stand-in for Home Assistant's ingress: a reverse proxy below a path, seen from its own address.

Like the original it drops the parameters of Content-Type, so that no multipart stream has a boundary, and names the
user. `/` shows the proxied page in a frame.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROXY = "127.0.0.2"  # Linux has all of 127.0.0.0/8
INGRESS_PATH = "/api/hassio_ingress/a-token"
HOP_BY_HOP = ("transfer-encoding", "content-length", "content-type", "connection")


@contextmanager
def ingress(port: int, user: str = "Jürgen") -> Iterator[str]:
    """Yield the address of the proxy before the page on `port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self.respond(200, {"Content-Type": "text/html"})
                self.wfile.write(f'<iframe src="{INGRESS_PATH}/" width="1200" height="900"></iframe>'.encode())
            elif self.path.startswith(f"{INGRESS_PATH}/"):
                with suppress(OSError, http.client.HTTPException):  # the browser or the page has closed a stream
                    self.forward()
            else:
                self.respond(404, {})

        do_POST = do_GET

        def forward(self) -> None:
            page = http.client.HTTPConnection("127.0.0.1", port, source_address=(PROXY, 0))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            headers |= {"X-Ingress-Path": INGRESS_PATH, "X-Remote-User-Name": user.encode().decode("latin-1")}
            page.request(self.command, self.path.removeprefix(INGRESS_PATH), body, headers)
            answer = page.getresponse()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            self.respond(answer.status, kept | {"Content-Type": answer.headers["Content-Type"].partition(";")[0]})
            while part := answer.read1(1 << 16):
                self.wfile.write(part)

        def respond(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name="ingress").start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
