"""Network cameras that send JPEGs over HTTP: MJPEG (multipart/x-mixed-replace), or one snapshot for each request."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections import deque
from http.client import HTTPException, HTTPResponse
from urllib.parse import unquote, urlsplit, urlunsplit

from edge.addresses import PERCENT_ENCODE
from edge.camera.base import BrokenFrameError, CameraError, CameraFrame, CameraSettings
from edge.camera.files import warn_if_unchecked
from edge.errors import UserError, reason_of
from edge.http_deadline import is_readable, opener, set_deadline
from edge.images import MAX_STREAM_PIXELS, decode_rgb
from edge.secrets import redact

MAX_JPEG_BYTES = 32 << 20
MAX_SKIPPED_BYTES = 64 << 10  # between two JPEGs: a boundary and headers
CHUNK_BYTES = 64 << 10
MAX_BACKLOG_BYTES = 16 << 20  # taken in for one frame: above what a socket holds, and an end if more always comes

START, END = b"\xff\xd8\xff", 0xD9
PART_OF_IMAGE = re.compile(rb"(?i)\ncontent-type:[ \t]*image/[^\n]*\n(?:[^\r\n][^\n]*\n){0,20}\r?\n(?!\s*--)")
"""Headers of a part that is said to be an image, up to its content."""
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # others are part of the compressed data


class MjpegCamera:
    """An MJPEG or snapshot camera, with Basic or Digest authentication if the address contains a user."""

    live = True

    def __init__(self, url: str, settings: CameraSettings) -> None:
        self.name = redact(url)
        self._timeout_s = settings.timeout_s
        self._interval_s = settings.interval_s
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError if invalid
        except ValueError as error:
            raise UserError(f"the address {self.name} is not valid", "expected http://host:port/path") from error
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        is_ambiguous = "@" in parts.netloc and "@" in parts.path  # a path, or the end of a password with a slash
        self._remedy = PERCENT_ENCODE if is_ambiguous else "check the address and that it is on"
        self._user = unquote(parts.username or ""), unquote(parts.password or "")
        self._response: HTTPResponse | None = None
        self._jpegs = JpegSplitter()
        self._is_snapshot = False
        self._requested_s = 0.0
        self._skipped = 0  # JPEGs since the last frame

    def open(self) -> None:
        self._request()
        warn_if_unchecked(self.name)

    def read(self) -> CameraFrame:
        if self._response is None:  # the last snapshot was read
            time.sleep(max(0.0, self._requested_s + self._interval_s - time.monotonic()))
            self._request()
        deadline_s = time.monotonic() + self._timeout_s
        while not self._jpegs.found:
            self._receive(deadline_s)
        backlog_bytes = 0  # what has arrived since the last read: frames in it are newer
        while not self._is_snapshot and backlog_bytes < MAX_BACKLOG_BYTES:
            if not (received := self._receive(deadline_s, wait=False)):
                break
            backlog_bytes += received
        jpeg, skipped = self._jpegs.take()
        self._skipped += skipped
        if self._is_snapshot:
            self.close()
        try:
            rgb = decode_rgb(jpeg, f"a frame of {self.name}", max_pixels=MAX_STREAM_PIXELS)
        except UserError as error:
            raise BrokenFrameError(error.problem) from None
        skipped, self._skipped = self._skipped, 0
        return CameraFrame(rgb, skipped=skipped)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        self._jpegs = JpegSplitter()

    def _request(self) -> None:
        self._requested_s = time.monotonic()
        try:
            response = self._opener().open(self._url, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            remedy = "check user and password" if error.code in (401, 403) else "check the path"
            raise CameraError(f"{self.name} answered {error.code} {error.reason}", remedy) from None
        except (OSError, HTTPException, ValueError) as error:
            problem = f"{self.name} does not answer ({redact(reason_of(error))})"
            raise CameraError(problem, self._remedy) from None
        self._response = response
        kind = response.headers.get_content_type()
        self._is_snapshot = kind in ("image/jpeg", "image/jpg")
        if not (self._is_snapshot or kind.startswith(("multipart/", "video/"))):
            remedy = "expected MJPEG (multipart/x-mixed-replace) or snapshots (image/jpeg)"
            raise CameraError(f"{self.name} sends {kind}", remedy)

    def _receive(self, deadline_s: float, *, wait: bool = True) -> int:
        """Pass the bytes that have arrived to the splitter, and return their number. Raises `CameraError`."""
        assert self._response is not None
        set_deadline(self._response, deadline_s)
        try:
            if not (wait or is_readable(self._response)):
                return 0
            data = self._response.read1(CHUNK_BYTES)
            self._jpegs.feed(data)
        except TimeoutError:
            raise CameraError(f"{self.name} sent no whole JPEG in {self._timeout_s:g} s") from None
        except ValueError as error:
            raise CameraError(f"{self.name} broke off ({error})") from None
        except (OSError, HTTPException) as error:
            raise CameraError(f"{self.name} broke off ({redact(reason_of(error))})") from None
        if wait and not data:
            sent = "sent no whole JPEG" if self._is_snapshot else "ended its stream"
            raise CameraError(f"{self.name} {sent}")
        return len(data)

    def _opener(self) -> urllib.request.OpenerDirector:
        if not any(self._user):
            return opener()
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, self._url, *self._user)
        handlers = urllib.request.HTTPBasicAuthHandler, urllib.request.HTTPDigestAuthHandler
        return opener(*(handler(passwords) for handler in handlers))


class JpegSplitter:
    """Finds the JPEGs in a stream by their own markers, and skips what is between them.

    Boundaries and headers are ignored: cameras send bare delimiters, wrong lengths or none. A JPEG that breaks off is
    returned as far as it goes, when the next one begins. A part that is said to be an image and has content without a
    JPEG is returned as no bytes, when the next JPEG begins.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0  # the next byte to look at; 0 while no JPEG has begun
        self._in_scan = False
        self._searched = 0  # bytes without the start of a JPEG
        self.found: deque[bytes] = deque()
        """The JPEGs that were not taken yet."""

    def take(self) -> tuple[bytes, int]:
        """Return the newest JPEG found and the number of older ones dropped; first each part without a JPEG."""
        newest = next((jpeg for jpeg in reversed(self.found) if jpeg), None)
        kept = deque(jpeg for jpeg in self.found if jpeg is newest or not jpeg)
        dropped, self.found = len(self.found) - len(kept), kept
        return self.found.popleft(), dropped

    def feed(self, data: bytes) -> None:
        """Add bytes. Raises ValueError if no JPEG begins or ends within the limits."""
        self._data += data
        while self._find_start() and (end := self._find_end()):
            self.found.append(bytes(self._data[:end]))
            self._cut(end)
        if len(self._data) > MAX_JPEG_BYTES:
            raise ValueError(f"no end of a JPEG after {len(self._data)} bytes")

    def _cut(self, end: int) -> None:
        del self._data[:end]
        self._at, self._in_scan, self._searched = 0, False, 0

    def _find_start(self) -> bool:
        if self._at:
            return True
        start = self._data.find(START, self._searched)
        self._searched = start if start >= 0 else max(0, len(self._data) - len(START) + 1)
        if self._searched > MAX_SKIPPED_BYTES:
            raise ValueError(f"no JPEG in {self._searched} bytes")
        if start >= 0:
            parts = sum(1 for _ in PART_OF_IMAGE.finditer(self._data, 0, start))
            self.found.extend([b""] * (parts - 1))  # the last is that of the JPEG
            self._cut(start)
            self._at = 2
        return start >= 0

    def _find_end(self) -> int:
        """Return where the JPEG ends or breaks off; 0 if that has not arrived."""
        data = self._data
        while True:
            if self._in_scan:
                match = NEXT_MARKER.search(data, self._at)
                if match is None:
                    self._at = max(self._at, len(data) - 1)
                    return 0
                self._at = match.start()
            if len(data) < self._at + 2:
                return 0
            marker = data[self._at + 1]
            if data[self._at] != 0xFF:
                return self._at
            if marker == END:
                return self._at + 2
            if marker == 0xFF:  # padding
                self._at += 1
                continue
            if marker < 0xC0 or marker == START[1]:  # text, or the next JPEG
                return self._at
            if len(data) < self._at + 4:
                return 0
            self._in_scan = marker == 0xDA
            self._at += 2 + int.from_bytes(data[self._at + 2 : self._at + 4], "big")
