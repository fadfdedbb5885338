"""Download one file over HTTP: retried, resumed, bounded in size, and renamed into place only when complete.

The bytes gather in `NAME.part`, with the validator (ETag or Last-Modified) beside it. A later request asks for the
rest with `If-Range`, so the download starts over if the server has another version or ignores ranges.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

from edge.files import make_folder, write_text

CHUNK_BYTES = 16 * 1024  # small, because requests drops the chunk in which a connection breaks
RETRY_AFTER_MAX_S = 30.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

OnProgress = Callable[[int, int | None], None]  # bytes or files so far, and in total if known


class TransferError(Exception):
    """A failed download. The text holds the reason; the caller adds the remedy."""


@dataclass(frozen=True)
class Network:
    """Timeouts and retries of a download."""

    timeout_s: tuple[float, float] = (10.0, 30.0)  # to connect, and between two packets
    retries: int = 3
    backoff_s: float = 1.0  # doubled after each retry

    def session(self) -> requests.Session:
        """Return a session that retries failed connections and transient statuses."""
        retry = _BoundedRetry(
            self.retries, backoff_factor=self.backoff_s, status_forcelist=TRANSIENT, raise_on_status=False
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return session


class _BoundedRetry(Retry):
    """A `Retry` that honours Retry-After up to `RETRY_AFTER_MAX_S`."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        wait_s = super().get_retry_after(response)
        return None if wait_s is None else min(RETRY_AFTER_MAX_S, wait_s)


def download(
    url: str, target: Path, *, limit_bytes: int, network: Network, on_progress: OnProgress = lambda done, total: None
) -> None:
    """Download `url` to `target`, which appears only when complete. Raises `TransferError`.

    A broken connection resumes at once for as long as each request adds bytes; after that, in the next run.
    """
    make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    validator = target.with_name(target.name + ".part.validator")
    with network.session() as session:
        complete = False
        while not complete:
            before_bytes = _size(part)
            try:
                complete = _transfer(session, url, part, validator, network.timeout_s, limit_bytes, on_progress)
                problem = "the connection broke"
            except requests.RequestException as error:
                problem = reason(error)
            if not complete and _size(part) <= before_bytes:
                raise TransferError(f"{shown(url)}: {problem}")
    part.replace(target)
    validator.unlink(missing_ok=True)


def shown(url: str) -> str:
    """Return the URL without user, password and query, which may hold a secret; a path unchanged."""
    pieces = urlsplit(url)
    if not pieces.netloc:
        return url
    port = f":{pieces.port}" if pieces.port else ""
    return f"{pieces.scheme}://{pieces.hostname or ''}{port}{pieces.path}"


def reason(error: requests.RequestException) -> str:
    """Describe the failure without urllib3's nested names and without the URL, which may hold a secret."""
    text = str(error)
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in text:
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate could not be trusted"
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service" in text:
        return "the host name could not be resolved"
    if "refused" in text:
        return "connection refused"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return type(error).__name__


def _transfer(
    session: requests.Session,
    url: str,
    part: Path,
    validator: Path,
    timeout_s: tuple[float, float],
    limit_bytes: int,
    on_progress: OnProgress,
) -> bool:
    """Append the body, or what `part` lacks of it. Return whether the file is complete."""
    offset_bytes = _size(part)
    headers = {"Accept-Encoding": "identity"}  # so that lengths and offsets count the bytes on disk
    if offset_bytes and (known := validator.read_text() if validator.is_file() else ""):
        headers |= {"Range": f"bytes={offset_bytes}-", "If-Range": known}
    with session.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
        total_bytes: int | None
        partial = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and partial and int(partial[1]) == offset_bytes:
            done_bytes, total_bytes = offset_bytes, int(partial[2])
        elif "Range" in headers and response.status_code in (206, 416):  # another range, or the file shrank: start over
            part.unlink()
            return _transfer(session, url, part, validator, timeout_s, limit_bytes, on_progress)
        elif response.status_code != 200:
            raise TransferError(f"{shown(url)}: the server answered {response.status_code} {response.reason}")
        else:
            # Lengths and ranges of an encoded body do not count the bytes on disk.
            plain = {} if "Content-Encoding" in response.headers else response.headers
            length, etag = plain.get("Content-Length", ""), plain.get("ETag", "")
            done_bytes, total_bytes = 0, int(length) if length.isdigit() else None
            part.unlink(missing_ok=True)
            write_text(validator, etag if etag and not etag.startswith("W/") else plain.get("Last-Modified", ""))
        with part.open("ab") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                done_bytes += len(chunk)
                if done_bytes > limit_bytes:
                    raise TransferError(f"{shown(url)} is larger than the limit of {limit_bytes >> 20} MiB")
                file.write(chunk)
                on_progress(done_bytes, total_bytes)
    return total_bytes is None or done_bytes == total_bytes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
