"""MJPEG over HTTP, from a real server on loopback that behaves as cameras do, and as they should not."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera import CameraSettings, build_camera
from edge.camera.base import Camera, CameraError
from edge.camera.mjpeg import jpegs
from edge.images import Frame, encode_jpeg

SETTINGS = CameraSettings(timeout_s=0.5)
USER, PASSWORD = "admin", "p@ss/wört"


def picture(level: int) -> Frame:
    return np.full((24, 32, 3), (level, 0, 255 - level), np.uint8)


def part(body: bytes, *, length: bool = True, boundary: str = "frame") -> bytes:
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"--{boundary}\r\nContent-Type: image/jpeg\r\n{size}\r\n".encode() + body + b"\r\n"


Serve = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def camera(serve: Serve) -> Iterator[str]:
    """A server whose every answer is `serve`'s; gives its address."""

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


def stream(*chunks: bytes, boundary: str = "frame", linger_s: float = 0.0) -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
        handler.wfile.flush()
        time.sleep(linger_s)

    return serve


def opened(address: str, scheme: str = "http://") -> Camera:
    source = build_camera(scheme + address, SETTINGS)
    source.open()
    return source


def levels(source: Camera, count: int) -> list[int]:
    """The red of so many frames."""
    shots = [source.read() for _ in range(count)]
    return [round(float(shot.rgb[..., 0].mean())) for shot in shots if shot]


@pytest.mark.parametrize("length", [True, False])
def test_pictures_come_one_by_one_with_and_without_a_length(length: bool) -> None:
    parts = [part(encode_jpeg(picture(level)), length=length) for level in (40, 120, 200)]
    with camera(stream(*parts, b"--frame--\r\n")) as address:
        source = opened(address)
        assert levels(source, 3) == pytest.approx([40, 120, 200], abs=3)
        with pytest.raises(CameraError, match="ended its stream"):
            source.read()
        source.close()


def test_a_boundary_whose_name_has_the_dashes_already_is_understood() -> None:
    parts = [part(encode_jpeg(picture(90)), boundary="cam")] * 2
    with camera(stream(*parts, boundary="--cam")) as address:
        assert levels(opened(address), 2) == pytest.approx([90, 90], abs=3)


def test_a_broken_picture_is_passed_over_and_only_many_in_a_row_are_an_error() -> None:
    good, bad = part(encode_jpeg(picture(90))), part(b"\xff\xd8 torn")
    with camera(stream(good, bad, bad, good, *[bad] * 20)) as address:
        source = opened(address)
        assert levels(source, 2) == pytest.approx([90, 90], abs=3)
        with pytest.raises(CameraError, match="10 broken pictures in a row"):
            source.read()


def test_a_camera_that_falls_silent_is_given_up_after_the_time_out() -> None:
    with camera(stream(part(encode_jpeg(picture(90))), linger_s=3)) as address:
        source = opened(address)
        source.read()
        began_s = time.monotonic()
        with pytest.raises(CameraError, match="broke off"):
            source.read()
        assert time.monotonic() - began_s < 2
        source.close()


def test_user_and_password_are_sent_as_the_camera_asks_and_never_shown() -> None:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def serve(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") == expected:
            stream(part(encode_jpeg(picture(90))))(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
        handler.end_headers()

    with camera(serve) as address:
        assert levels(opened(address, "http://admin:p%40ss%2Fw%C3%B6rt@"), 1) == pytest.approx([90], abs=3)
        with pytest.raises(CameraError, match="answered 401 Unauthorized: check user and password") as told:
            opened(address, "http://admin:wrong@")
        assert "wrong" not in str(told.value)


def test_a_page_instead_of_pictures_is_refused_by_its_kind() -> None:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.end_headers()

    with camera(serve) as address, pytest.raises(CameraError, match=r"sends text/html: expected MJPEG"):
        opened(address)


def test_no_camera_at_an_address_is_an_error_that_may_pass() -> None:
    with camera(stream()) as address:
        gone = address
    with pytest.raises(CameraError, match=r"http://\*\*\*@127.0.0.1:.*does not answer"):
        opened(gone, "http://me:hunter2@")


@given(
    bodies=st.lists(st.binary(max_size=200), max_size=5),
    length=st.booleans(),
)
def test_what_was_sent_in_parts_is_what_is_read(bodies: list[bytes], length: bool) -> None:
    bodies = [body for body in bodies if length or b"--frame" not in body]
    sent = b"".join(part(body, length=length) for body in bodies) + b"--frame--\r\n\r\n"
    read = [body if length else body.removesuffix(b"\r\n") for body in jpegs(io.BytesIO(sent), "frame")]
    assert [body for body in read if body] == [body for body in bodies if body]


@given(data=st.binary(max_size=400), at=st.integers(0, 100))
def test_no_garbage_in_a_stream_hangs_or_crashes(data: bytes, at: int) -> None:
    good = part(cv2.imencode(".jpg", picture(5))[1].tobytes())
    try:
        for _ in jpegs(io.BytesIO(good[:at] + data + good), "frame"):
            pass
    except ValueError:
        pass
