"""A network camera that sends JPEGs over HTTP, one after the other (multipart/x-mixed-replace)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from edge.camera import CameraSettings
from edge.camera.base import CameraError, CameraFrame
from edge.errors import UserError
from edge.images import to_rgb
from edge.secrets import redact

MAX_JPEG_BYTES = 32 << 20
MAX_BROKEN = 10
"""Broken pictures in a row before the stream counts as broken: one now and then is a hiccup of the radio."""


class Mjpeg:
    live = True

    def __init__(self, url: str, settings: CameraSettings) -> None:
        self.name = redact(url)
        self._timeout_s = settings.timeout_s
        try:
            parts = urlsplit(url)
            netloc = parts.netloc.rpartition("@")[2]
            _ = parts.port  # raises where it is no number
        except ValueError as error:
            raise UserError(f"the address {self.name} cannot be read", "expected http://host:port/path") from error
        self._url = urlunsplit(parts._replace(netloc=netloc))
        self._user = unquote(parts.username or ""), unquote(parts.password or "")
        self._response: HTTPResponse | None = None
        self._jpegs: Iterator[bytes] = iter(())

    def open(self) -> None:
        try:
            response = self._opener().open(self._url, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            remedy = "check user and password" if error.code in (401, 403) else "check the path"
            raise CameraError(f"{self.name} answered {error.code} {error.reason}: {remedy}") from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise CameraError(
                f"{self.name} does not answer ({redact(str(reason))}): check the address and that it is on"
            ) from None
        self._response = response
        kind = response.headers.get_content_type()
        if kind != "multipart/x-mixed-replace":
            raise CameraError(f"{self.name} sends {kind}: expected MJPEG (multipart/x-mixed-replace)")
        self._jpegs = jpegs(response, response.headers.get_param("boundary"))

    def read(self) -> CameraFrame:
        for _ in range(MAX_BROKEN):
            try:
                jpeg = next(self._jpegs, None)
            except (OSError, HTTPException, ValueError) as error:
                raise CameraError(f"{self.name} broke off ({redact(str(error))})") from None
            if jpeg is None:
                raise CameraError(f"{self.name} ended its stream")
            if (bgr := decode(jpeg)) is not None:
                return CameraFrame(to_rgb(bgr))
        raise CameraError(f"{self.name} sent {MAX_BROKEN} broken pictures in a row")

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        self._jpegs = iter(())

    def _opener(self) -> urllib.request.OpenerDirector:
        if not any(self._user):
            return urllib.request.build_opener()
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, self._url, *self._user)
        return urllib.request.build_opener(
            urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)
        )


def decode(jpeg: bytes) -> np.ndarray | None:
    """The picture, in OpenCV's order; None where it is broken."""
    try:
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    except cv2.error:
        return None


def jpegs(stream: BinaryIO | HTTPResponse, boundary: object) -> Iterator[bytes]:
    """The parts of a multipart stream. Raises ValueError where it is none, or OSError where it breaks off."""
    mark = b"--" + str(boundary or "").encode().removeprefix(b"--")  # many cameras put the dashes into the name too
    line = stream.readline()
    while line:
        if not line.startswith(mark):
            line = stream.readline()
            continue
        size_bytes = _content_length(stream)
        if size_bytes is None:
            body, line = _until(stream, mark)
        else:
            if not 0 <= size_bytes <= MAX_JPEG_BYTES:
                raise ValueError(f"a picture of {size_bytes} bytes")
            body, line = stream.read(size_bytes), stream.readline()
            if len(body) < size_bytes:
                return
        yield body


def _content_length(stream: BinaryIO | HTTPResponse) -> int | None:
    """Read a part's headers."""
    size_bytes = None
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size_bytes = int(value)
    return size_bytes


def _until(stream: BinaryIO | HTTPResponse, mark: bytes) -> tuple[bytes, bytes]:
    """What comes before the next mark, and the line of the mark; for cameras that do not tell a part's length."""
    lines: list[bytes] = []
    size_bytes = 0
    while (line := stream.readline()) and not line.startswith(mark):
        lines.append(line)
        size_bytes += len(line)
        if size_bytes > MAX_JPEG_BYTES:
            raise ValueError(f"no end of a picture after {size_bytes} bytes")
    return b"".join(lines), line
