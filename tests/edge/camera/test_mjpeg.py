"""MJPEG over HTTP, from a real server on loopback that behaves like cameras, good and bad ones."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera import CameraSettings, build_camera
from edge.camera.base import Camera, CameraError
from edge.camera.mjpeg import MAX_JPEG_BYTES, multipart_bodies
from edge.images import Frame, encode_jpeg

WAIT_S = 20.0  # for what takes milliseconds on an idle machine
USER, PASSWORD = "admin", "p@ss/wört"


def image(level: int) -> Frame:
    return np.full((24, 32, 3), (level, 0, 255 - level), np.uint8)


def part(body: bytes, *, length: bool = True, boundary: str = "frame") -> bytes:
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"--{boundary}\r\nContent-Type: image/jpeg\r\n{size}\r\n".encode() + body + b"\r\n"


Serve = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serve_camera(serve: Serve) -> Iterator[str]:
    """Serve every request with `serve`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}/live"
        finally:
            server.shutdown()
            thread.join()


def stream(
    *chunks: bytes, boundary: str = "frame", linger_s: float = 0.0, kind: str = "multipart/x-mixed-replace"
) -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"{kind}; boundary={boundary}")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
        handler.wfile.flush()
        time.sleep(linger_s)

    return serve


def open_camera(address: str, scheme: str = "http://", *, timeout_s: float = WAIT_S) -> Camera:
    camera = build_camera(scheme + address, CameraSettings(timeout_s=timeout_s))
    camera.open()
    return camera


def levels(camera: Camera, count: int) -> list[int]:
    """The red level of the next frames."""
    frames = [camera.read() for _ in range(count)]
    return [round(float(frame.rgb[..., 0].mean())) for frame in frames if frame]


@pytest.mark.parametrize("length", [True, False])
def test_frames_arrive_with_and_without_content_length(length: bool) -> None:
    parts = [part(encode_jpeg(image(level)), length=length) for level in (40, 120, 200)]
    with serve_camera(stream(*parts, b"--frame--\r\n")) as address:
        camera = open_camera(address)
        assert levels(camera, 3) == pytest.approx([40, 120, 200], abs=3)
        with pytest.raises(CameraError, match="ended its stream"):
            camera.read()
        camera.close()


def test_a_boundary_declared_with_dashes_is_understood() -> None:
    parts = [part(encode_jpeg(image(90)), boundary="cam")] * 2
    with serve_camera(stream(*parts, boundary="--cam")) as address:
        assert levels(open_camera(address), 2) == pytest.approx([90, 90], abs=3)


def test_broken_jpegs_are_skipped_and_many_in_a_row_are_an_error() -> None:
    good, bad = part(encode_jpeg(image(90))), part(b"\xff\xd8 torn")
    with serve_camera(stream(good, bad, bad, good, *[bad] * 20)) as address:
        camera = open_camera(address)
        assert levels(camera, 2) == pytest.approx([90, 90], abs=3)
        with pytest.raises(CameraError, match="10 broken JPEGs in a row"):
            camera.read()


def test_a_silent_camera_times_out() -> None:
    with serve_camera(stream(part(encode_jpeg(image(90))), linger_s=WAIT_S)) as address:
        camera = open_camera(address, timeout_s=0.8)
        camera.read()
        with pytest.raises(CameraError, match=r"broke off .*timed out"):
            camera.read()
        camera.close()


def test_user_and_password_are_sent_on_request_and_never_shown() -> None:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def serve(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") == expected:
            stream(part(encode_jpeg(image(90))))(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.end_headers()

    with serve_camera(serve) as address:
        assert levels(open_camera(address, "http://admin:p%40ss%2Fw%C3%B6rt@"), 1) == pytest.approx([90], abs=3)
        with pytest.raises(CameraError, match="answered 401 Unauthorized: check user and password") as caught:
            open_camera(address, "http://admin:wrong@")
        assert "wrong" not in str(caught.value)


def test_another_content_type_is_refused() -> None:
    with serve_camera(stream(kind="text/html")) as address, pytest.raises(CameraError, match="sends text/html: expec"):
        open_camera(address)


def test_an_unreachable_camera_is_a_camera_error() -> None:
    with serve_camera(stream()) as address:
        gone = address
    with pytest.raises(CameraError, match=r"http://\*\*\*@127.0.0.1:.*does not answer"):
        open_camera(gone, "http://me:hunter2@")


@given(bodies=st.lists(st.binary(max_size=200), max_size=5), length=st.booleans())
def test_bodies_are_read_as_they_were_sent(bodies: list[bytes], length: bool) -> None:
    bodies = [body for body in bodies if length or b"--frame" not in body]
    sent = b"".join(part(body, length=length) for body in bodies) + b"--frame--\r\n\r\n"
    read = [body if length else body.removesuffix(b"\r\n") for body in multipart_bodies(io.BytesIO(sent), "frame")]
    assert [body for body in read if body] == [body for body in bodies if body]


@pytest.mark.parametrize("size_bytes", [-1, MAX_JPEG_BYTES + 1])
def test_an_absurd_content_length_is_refused(size_bytes: int) -> None:
    head = f"--frame\r\nContent-Length: {size_bytes}\r\n\r\n".encode()
    with pytest.raises(ValueError, match=f"a JPEG of {size_bytes} bytes"):
        next(multipart_bodies(io.BytesIO(head + bytes(100)), "frame"))


@given(data=st.binary(max_size=400), at=st.integers(0, 100))
def test_garbage_neither_hangs_nor_crashes_the_parser(data: bytes, at: int) -> None:
    good = part(cv2.imencode(".jpg", image(5))[1].tobytes())
    with contextlib.suppress(ValueError, HTTPException):
        for _ in multipart_bodies(io.BytesIO(good[:at] + data + good), "frame"):
            pass
