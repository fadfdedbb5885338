"""One file over HTTP, whole or not at all, resumed where it stopped.

The bytes gather in `NAME.part`; its validator (ETag or Last-Modified) lies beside it, so a later run asks for the rest
of the very same file and starts anew where the server has another by now, or cannot send a part.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from edge.files import make_folder, write_text

CHUNK_BYTES = 16 * 1024  # small: requests drops a chunk that the end of the connection cut
MAX_WAIT_S = 30.0  # a server may ask for more patience than a person has
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_HOPELESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.TooManyRedirects,
)

OnBytes = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says it


class TransferError(Exception):
    """A file that could not be had; the text is the reason, for the caller to say what that means."""


class RefusedError(TransferError):
    """The server is there and has had enough of us: too many requests, or none allowed from here."""


class _TransientError(Exception):
    """Worth another try, after `wait_s` where the server asked for it."""

    def __init__(self, reason: str, wait_s: float = 0.0, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.wait_s, self.refused = wait_s, refused


@dataclass(frozen=True)
class Network:
    """How long to wait, and how often to try again before giving up."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0  # between two pieces, not for the whole file
    attempts: int = 4
    backoff_s: float = 1.0  # doubled after each attempt

    @property
    def timeout_s(self) -> tuple[float, float]:
        return self.connect_timeout_s, self.read_timeout_s


def download(
    url: str,
    target: Path,
    *,
    session: requests.Session,
    network: Network,
    limit_bytes: int,
    on_bytes: OnBytes = lambda done, total: None,
    stop: threading.Event | None = None,
) -> None:
    """Bring `url` to `target`, which appears only when every byte is there. Raises `TransferError`.

    Attempts count anew whenever one got further than any before it, so a long file survives a bad line.
    With `stop` set by another thread, no further attempt is made.
    """
    make_folder(target.parent)
    stop = stop or threading.Event()
    part, validator = _part(target), _validator(target)
    furthest_bytes, failures = _size(part), 0
    while True:
        try:
            _transfer(url, part, validator, session, network, limit_bytes, on_bytes)
            break
        except _TransientError as error:
            reached_bytes = _size(part)
            failures = 1 if reached_bytes > furthest_bytes else failures + 1
            furthest_bytes = max(furthest_bytes, reached_bytes)
            if failures >= network.attempts:
                kind = RefusedError if error.refused else TransferError
                raise kind(f"{shown(url)}: {error}, tried {failures} times") from error
            if stop.wait(min(MAX_WAIT_S, max(error.wait_s, network.backoff_s * 2 ** (failures - 1)))):
                raise TransferError(f"{shown(url)}: stopped") from error
    part.replace(target)
    validator.unlink(missing_ok=True)


def shown(url: str) -> str:
    """The address for a message: without user, password and query, which may hold a secret."""
    pieces = urlsplit(url)
    host = pieces.hostname or ""
    port = f":{pieces.port}" if pieces.port else ""
    return f"{pieces.scheme}://{host}{port}{pieces.path}"


def reason(error: requests.RequestException) -> str:
    """What went wrong, without urllib3's nested names and the address, which may hold a secret."""
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
    url: str,
    part: Path,
    validator: Path,
    session: requests.Session,
    network: Network,
    limit_bytes: int,
    on_bytes: OnBytes,
) -> None:
    offset_bytes = _size(part)
    # Without a validator the rest might belong to another version of the file.
    known = validator.read_text() if validator.is_file() else ""
    headers = {"Accept-Encoding": "identity"}  # so that lengths and offsets count the bytes on disk
    if offset_bytes and known:
        headers |= {"Range": f"bytes={offset_bytes}-", "If-Range": known}
    try:
        with session.get(url, headers=headers, stream=True, timeout=network.timeout_s) as response:
            total_bytes = _accept(url, response, part, offset_bytes)
            if response.status_code == requests.codes.partial_content:
                done_bytes = offset_bytes
            else:  # the whole file, from its start
                done_bytes = 0
                part.unlink(missing_ok=True)
                write_text(validator, _validator_of(response))
            with part.open("ab") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    done_bytes += len(chunk)
                    if done_bytes > limit_bytes:
                        raise TransferError(f"{shown(url)} is larger than the {limit_bytes >> 20} MiB expected at most")
                    file.write(chunk)
                    on_bytes(done_bytes, total_bytes)
    except _HOPELESS as error:
        raise TransferError(f"{shown(url)}: {type(error).__name__}") from error
    except requests.RequestException as error:
        raise _TransientError(reason(error)) from error
    if total_bytes is not None and done_bytes != total_bytes:
        raise _TransientError(f"the answer ended after {done_bytes} of {total_bytes} bytes")


def _accept(url: str, response: requests.Response, part: Path, offset_bytes: int) -> int | None:
    """The size of the whole file, where the answer is one to be read."""
    status = response.status_code
    if status in TRANSIENT:
        refused = status == requests.codes.too_many_requests
        raise _TransientError(f"the server answered {status} {response.reason}", _wait_s(response), refused=refused)
    if status == requests.codes.requested_range_not_satisfiable:
        part.unlink(missing_ok=True)  # the file shrank, or the part is whole already: both are rare, so start anew
        raise _TransientError("the server refused the rest of the file")
    if status == requests.codes.partial_content:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != offset_bytes:
            part.unlink(missing_ok=True)
            raise _TransientError("the server sent another part of the file than asked for")
        return int(match[2])
    if status != requests.codes.ok:
        kind = RefusedError if status == requests.codes.forbidden else TransferError
        raise kind(f"{shown(url)}: the server answered {status} {response.reason}")
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None


def _validator_of(response: requests.Response) -> str:
    if "Content-Encoding" in response.headers:
        return ""  # offsets would count other bytes than those on disk
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _wait_s(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _validator(target: Path) -> Path:
    return target.with_name(target.name + ".part.validator")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
