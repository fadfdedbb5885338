"""A camera that sends faster than it is read: the newest frame is read, over HTTP, TLS and in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.images import encode_jpeg
from tests.support.certificate import certify
from tests.support.mjpeg_server import Sender, image, levels, open_camera, part, serve_camera

LEVELS = range(10, 210, 10)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read takes less than one frame."""
    monkeypatch.setattr("edge.camera.mjpeg.CHUNK_BYTES", 500)


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_newest_of_the_frames_that_have_arrived_is_read(
    scheme: str, chunked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path, "camera") if scheme == "https" else None
    if certificate:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sender = Sender(chunked=chunked)
    parts = [part(encode_jpeg(image(level))) for level in LEVELS]
    with serve_camera(sender, certificate=certificate) as address:
        camera = open_camera(address, f"{scheme}://")
        for _ in range(2):
            sender.send(b"".join(chunk(data) if chunked else data for data in parts))
            frame = camera.read()
            assert frame
            assert frame.rgb[..., 0].mean() == pytest.approx(LEVELS[-1], abs=3)
            assert frame.skipped == len(LEVELS) - 1, "counted as dropped"
        sender.end()
        camera.close()


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"\r\n5", b"\r\n5\r\n"])
def test_a_frame_is_read_before_the_next_chunk_is_whole(rest: bytes) -> None:
    sender = Sender(chunked=True)
    data = part(encode_jpeg(image(90)))
    with serve_camera(sender) as address:
        camera = open_camera(address)
        assert sender.levels(camera, chunk(data)[:-2] + rest) == pytest.approx([90], abs=3)
        sender.end()
        camera.close()


def test_a_read_ends_although_more_has_always_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.camera.mjpeg.MAX_BACKLOG_BYTES", 1)
    sender = Sender()
    with serve_camera(sender) as address:
        camera = open_camera(address)
        sender.send(b"".join(part(encode_jpeg(image(level))) for level in LEVELS))
        assert levels(camera, 1)[0] < LEVELS[5]
        while levels(camera, 1)[0] < LEVELS[-1] - 3:
            pass
        sender.end()
        camera.close()


def test_the_last_frame_before_the_end_of_a_stream_is_read() -> None:
    sender = Sender(chunked=True)
    with serve_camera(sender) as address:
        camera = open_camera(address)
        data = part(encode_jpeg(image(90)))
        assert sender.levels(camera, chunk(data) + chunk(b"")) == pytest.approx([90], abs=3)
        sender.end()
        camera.close()
