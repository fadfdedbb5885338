"""A camera that sends JPEGs over HTTP, from a real server on loopback, and what reads it."""

from __future__ import annotations

import fcntl
import queue
import ssl
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from edge.camera import CameraSettings, build_camera
from edge.camera.base import Camera
from edge.images import Frame

WAIT_S = 20.0  # for what takes milliseconds on an idle machine


def image(level: int) -> Frame:
    return np.full((24, 32, 3), (level, 0, 255 - level), np.uint8)


def part(body: bytes, *, length: bool = True, boundary: str = "frame") -> bytes:
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"--{boundary}\r\nContent-Type: image/jpeg\r\n{size}\r\n".encode() + body + b"\r\n"


Serve = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serve_camera(serve: Serve, *, certificate: Path | None = None) -> Iterator[str]:
    """Serve every request with `serve`, over TLS if there is a certificate; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}/live"
        finally:
            server.shutdown()
            thread.join()


def stream(
    *chunks: bytes,
    boundary: str = "frame",
    linger_s: float = 0.0,
    kind: str = "multipart/x-mixed-replace",
    chunked: bool = False,
) -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"{kind}; boundary={boundary}")
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
        handler.wfile.flush()
        time.sleep(linger_s)

    return serve


class Sender:
    """Serves a stream whose bytes are sent when a test says so."""

    def __init__(self, *, boundary: str = "frame", chunked: bool = False) -> None:
        self._head = stream(boundary=boundary, chunked=chunked)
        self._queue: queue.Queue[bytes] = queue.Queue()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self._head(handler)
        while data := self._queue.get():
            try:
                handler.wfile.write(data)
                while fcntl.ioctl(handler.connection, termios.TIOCOUTQ, bytes(4)) != bytes(4):
                    time.sleep(0.001)
            finally:
                self._queue.task_done()

    def send(self, data: bytes) -> None:
        """Send bytes, and wait until they are in the receiver's socket."""
        self._queue.put(data)
        self._queue.join()

    def end(self) -> None:
        self._queue.put(b"")

    def levels(self, camera: Camera, *chunks: bytes) -> list[int]:
        """Send chunks, and return the red level of the frame read after each."""
        result = []
        for chunk in chunks:
            self.send(chunk)
            result += levels(camera, 1)
        return result


def open_camera(address: str, scheme: str = "http://", *, timeout_s: float = WAIT_S) -> Camera:
    camera = build_camera(scheme + address, CameraSettings(timeout_s=timeout_s))
    camera.open()
    return camera


def levels(camera: Camera, count: int) -> list[int]:
    """The red level of the next frames."""
    frames = [camera.read() for _ in range(count)]
    return [round(float(frame.rgb[..., 0].mean())) for frame in frames if frame]
