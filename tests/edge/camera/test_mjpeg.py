"""MJPEG and snapshots over HTTP, from a real server on loopback that behaves like cameras, good and bad ones."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np
import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.base import BrokenFrameError, CameraError
from edge.images import encode_jpeg
from tests.support.mjpeg_server import WAIT_S, Sender, Serve, image, levels, open_camera, part, serve_camera, stream

USER, PASSWORD = "admin", "p@ss/wört"


@pytest.mark.parametrize("length", [True, False])
def test_frames_arrive_with_and_without_content_length(length: bool) -> None:
    parts = [part(encode_jpeg(image(level)), length=length) for level in (40, 120, 200)]
    sender = Sender()
    with serve_camera(sender) as address:
        camera = open_camera(address)
        assert sender.levels(camera, *parts) == pytest.approx([40, 120, 200], abs=3)
        sender.send(b"--frame--\r\n")
        sender.end()
        with pytest.raises(CameraError, match="ended its stream"):
            camera.read()
        camera.close()


def test_a_boundary_declared_with_dashes_is_understood() -> None:
    parts = [part(encode_jpeg(image(90)), boundary="cam")] * 2
    sender = Sender(boundary="--cam")
    with serve_camera(sender) as address:
        assert sender.levels(open_camera(address), *parts) == pytest.approx([90, 90], abs=3)
        sender.end()


DELIMITERS = {
    "bare": "frame\r\nContent-Type: image/jpeg\r\nContent-Length: {size}\r\n\r\n",
    "undeclared": "--other\r\nContent-Type: image/jpeg\r\n\r\n",
    "with merged headers": "--frame Content-Type: image/jpeg Content-Length: {size}\r\n",
    "with a length that is too small": "--frame\r\nContent-Length: 100\r\n\r\n",
    "with a length that is not a number": "--frame\r\nContent-Length: many\r\n\r\n",
    "with newlines alone": "--frame\nContent-Type: image/jpeg\n\n",
    "missing": "",
}


@pytest.mark.parametrize("kind", DELIMITERS)
def test_frames_arrive_whatever_their_delimiters_say(kind: str) -> None:
    jpegs = [encode_jpeg(image(level)) for level in (40, 120, 200)]
    chunks = [DELIMITERS[kind].format(size=len(jpeg)).encode() + jpeg for jpeg in jpegs]
    sender = Sender()
    with serve_camera(sender) as address:
        assert sender.levels(open_camera(address), *chunks) == pytest.approx([40, 120, 200], abs=3)
        sender.end()


@pytest.mark.parametrize("share", [0.3, 0.9])  # within its headers, within its data
def test_a_jpeg_that_breaks_off_is_one_broken_frame(share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    good, torn = encode_jpeg(image(90)), encode_jpeg(noise)
    torn = torn[: round(share * len(torn))]
    sender = Sender()
    with serve_camera(sender) as address:
        camera = open_camera(address)
        assert sender.levels(camera, part(good)) == pytest.approx([90], abs=3)
        sender.send(part(torn) + part(good)[:100])
        with pytest.raises(BrokenFrameError, match=r"a frame of http://127.* is (cut short|not a readable image)"):
            camera.read()
        assert sender.levels(camera, part(good)[100:]) == pytest.approx([90], abs=3)
        sender.end()


def test_a_part_that_is_said_to_be_an_image_and_is_not_a_jpeg_is_a_broken_frame() -> None:
    good, png = encode_jpeg(image(90)), cv2.imencode(".png", image(90))[1].tobytes()
    text = b"--frame\r\nContent-Type: text/plain\r\n\r\nmotion: 7\r\n"
    sender = Sender()
    with serve_camera(sender) as address:
        camera = open_camera(address)
        assert sender.levels(camera, part(good)) == pytest.approx([90], abs=3)
        sender.send(part(png) + part(b"no memory") + part(b"") + text + part(good))
        for _ in range(2):
            with pytest.raises(BrokenFrameError, match=r"a frame of http://127.* is not a readable image"):
                camera.read()
        assert levels(camera, 1) == pytest.approx([90], abs=3)
        assert sender.levels(camera, text + part(good)) == pytest.approx([90], abs=3)
        sender.end()
        camera.close()


def test_a_jpeg_with_a_thumbnail_is_one_frame() -> None:
    good, thumbnail = encode_jpeg(image(90)), encode_jpeg(image(200))
    head = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    sender = Sender()
    with serve_camera(sender) as address:
        frames = sender.levels(open_camera(address), part(good[:2] + head + good[2:]), part(good))
        assert frames == pytest.approx([90, 90], abs=3)
        sender.end()


def snapshots(*levels: int) -> Serve:
    """Serve one JPEG for each request; after the last one, an empty body."""
    jpegs = iter([encode_jpeg(image(level)) for level in levels])

    def serve(handler: BaseHTTPRequestHandler) -> None:
        jpeg = next(jpegs, b"")
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Content-Length", str(len(jpeg)))
        handler.end_headers()
        handler.wfile.write(jpeg)

    return serve


def test_an_address_that_answers_with_one_jpeg_is_polled() -> None:
    with serve_camera(snapshots(40, 120, 200)) as address:
        camera = build_camera(f"http://{address}", CameraSettings(fps=200, timeout_s=WAIT_S))
        camera.open()
        assert levels(camera, 3) == pytest.approx([40, 120, 200], abs=3)
        with pytest.raises(CameraError, match="sent no whole JPEG"):
            camera.read()
        camera.close()


def test_a_snapshot_camera_is_polled_at_the_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s: list[float] = []
    with serve_camera(snapshots(40, 120, 200)) as address:
        camera = build_camera(f"http://{address}", CameraSettings(fps=0.1, timeout_s=WAIT_S))
        camera.open()
        monkeypatch.setattr("edge.camera.mjpeg.time.sleep", waits_s.append)
        levels(camera, 3)
    assert waits_s == pytest.approx([10, 10], abs=2)


def test_a_stream_that_drips_is_given_up_at_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        stream()(handler)
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"X-Header: 1\r\n")
                time.sleep(0.02)

    with serve_camera(serve) as address:
        camera = open_camera(address)
        monkeypatch.setattr(camera, "_timeout_s", 0.1)
        with pytest.raises(CameraError, match=r"sent no whole JPEG in 0\.1 s"):
            camera.read()
        camera.close()


@pytest.mark.parametrize("drip", [b"X-Header: 1\r\n", b"x"], ids=["lines", "bytes"])
def test_headers_that_drip_are_given_up_at_the_time_out(drip: bytes) -> None:
    stop = threading.Event()

    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not stop.wait(0.02):
                handler.wfile.write(drip)

    with serve_camera(serve) as address:
        with pytest.raises(CameraError, match=r"does not answer \((no complete answer in time|timed out)\)"):
            open_camera(address, timeout_s=0.2)
        stop.set()


def test_a_stream_without_a_jpeg_is_not_read_for_ever() -> None:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        stream()(handler)
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(bytes(10_000))

    with serve_camera(serve) as address:
        camera = open_camera(address)
        with pytest.raises(CameraError, match="no JPEG in"):
            camera.read()
        camera.close()


def test_a_silent_camera_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_camera(stream(part(encode_jpeg(image(90))), linger_s=WAIT_S)) as address:
        camera = open_camera(address)
        camera.read()
        monkeypatch.setattr(camera, "_timeout_s", 0.8)
        with pytest.raises(CameraError, match=r"sent no whole JPEG in 0\.8 s"):
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
    with pytest.raises(CameraError, match="write # / "):  # the password p@127.0.0.1:9/word, not encoded
        open_camera(gone, "http://me:p@127.0.0.1:9/word@")
