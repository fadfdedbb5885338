"""Network cameras that send JPEGs over HTTP (MJPEG, multipart/x-mixed-replace)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.errors import UserError
from edge.images import to_rgb
from edge.secrets import redact

MAX_JPEG_BYTES = 32 << 20
MAX_BROKEN = 10  # consecutive broken JPEGs before the stream counts as failed; single ones are radio errors


class MjpegCamera:
    """An MJPEG stream, with Basic or Digest authentication if the address contains a user."""

    live = True

    def __init__(self, url: str, settings: CameraSettings) -> None:
        self.name = redact(url)
        self._timeout_s = settings.timeout_s
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError if invalid
        except ValueError as error:
            raise UserError(f"the address {self.name} is not valid", "expected http://host:port/path") from error
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._user = unquote(parts.username or ""), unquote(parts.password or "")
        self._response: HTTPResponse | None = None
        self._jpegs: Iterator[bytes] = iter(())

    def open(self) -> None:
        try:
            response = self._opener().open(self._url, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            remedy = "check user and password" if error.code in (401, 403) else "check the path"
            raise CameraError(f"{self.name} answered {error.code} {error.reason}", remedy) from None
        except (OSError, HTTPException, ValueError) as error:
            problem = f"{self.name} does not answer ({redact(str(getattr(error, 'reason', error)))})"
            raise CameraError(problem, "check the address and that it is on") from None
        self._response = response
        kind = response.headers.get_content_type()
        if kind != "multipart/x-mixed-replace":
            raise CameraError(f"{self.name} sends {kind}", "expected MJPEG (multipart/x-mixed-replace)")
        self._jpegs = multipart_bodies(response, response.headers.get_param("boundary"))

    def read(self) -> CameraFrame:
        for _ in range(MAX_BROKEN):
            try:
                jpeg = next(self._jpegs, None)
            except (OSError, HTTPException, ValueError) as error:
                raise CameraError(f"{self.name} broke off ({redact(str(error))})") from None
            if jpeg is None:
                raise CameraError(f"{self.name} ended its stream")
            with suppress(cv2.error):  # raised for an empty JPEG, and by `to_rgb` for None
                return CameraFrame(to_rgb(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)))
        raise CameraError(f"{self.name} sent {MAX_BROKEN} broken JPEGs in a row")

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
        handlers = urllib.request.HTTPBasicAuthHandler, urllib.request.HTTPDigestAuthHandler
        return urllib.request.build_opener(*(handler(passwords) for handler in handlers))


def multipart_bodies(stream: BinaryIO | HTTPResponse, boundary: object) -> Iterator[bytes]:
    """Yield the body of each part of a multipart stream.

    Raises ValueError or HTTPException if the stream is malformed, OSError if the connection fails.
    """
    marker = b"--" + str(boundary or "").encode().removeprefix(b"--")  # many cameras declare the dashes too
    _, line = _read_until(stream, marker)
    while line:
        if (length := parse_headers(stream).get("Content-Length")) is None:
            body, line = _read_until(stream, marker)
            yield body
        else:
            size_bytes = int(length)
            if not 0 <= size_bytes <= MAX_JPEG_BYTES:
                raise ValueError(f"a JPEG of {size_bytes} bytes")
            body = stream.read(size_bytes)
            if len(body) < size_bytes:
                return
            yield body
            _, line = _read_until(stream, marker)


def _read_until(stream: BinaryIO | HTTPResponse, marker: bytes) -> tuple[bytes, bytes]:
    """Return the bytes before the next marker line, and that line; empty at the end of the stream."""
    body = bytearray()
    while (line := stream.readline()) and not line.startswith(marker):
        body += line
        if len(body) > MAX_JPEG_BYTES:
            raise ValueError(f"no end of a JPEG after {len(body)} bytes")
    return bytes(body), line
