"""Fetch files of a repository with one deadline for all: a server that drips bytes cannot hold an update."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from edge.http_deadline import opener

CHUNK_BYTES = 1 << 16


class DeadlineFetcher(FetcherInterface):
    """Fetches by HTTP until a deadline that counts connections, redirects, headers and bodies.

    Example:
        >>> fetcher = DeadlineFetcher("fireseg-edge/1.0.0")
        >>> fetcher.begin(120.0)
        >>> fetcher.download_bytes("https://models.example.org/metadata/timestamp.json", 16384)
        b'{…'
    """

    def __init__(self, user_agent: str) -> None:
        self._headers = {"User-Agent": user_agent}
        self._opener = opener(_Redirects(self))
        self.begin(0.0)

    def begin(self, limit_s: float) -> None:
        """Allow this many seconds for all that is fetched from now on."""
        self._limit_s, self._deadline_s = limit_s, time.monotonic() + limit_s

    def remaining_s(self) -> float:
        """Return the seconds that are left. Raises SlowRetrievalError if none are."""
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise SlowRetrievalError(f"not complete after {self._limit_s:.0f} s")
        return remaining_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield the body in chunks. Raises DownloadError with the cause."""
        try:
            request = urllib.request.Request(url, headers=self._headers)
            with self._opener.open(request, timeout=self.remaining_s()) as response:
                while chunk := response.read(CHUNK_BYTES):
                    yield chunk
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
        except urllib.error.HTTPError as error:
            error.close()
            raise DownloadHTTPError(f"HTTP status {error.code}", error.code) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.remaining_s()
            if isinstance(error, http.client.InvalidURL | ValueError):  # its text quotes the URL, maybe with a password
                error = ConnectionError(type(error).__name__)
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            raise DownloadError(str(cause)) from (cause if isinstance(cause, BaseException) else error)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web only, within the time that is left."""

    def __init__(self, fetcher: DeadlineFetcher) -> None:
        self._fetcher = fetcher

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request that follows a redirect."""
        if not newurl.startswith(("http://", "https://")):
            raise urllib.error.URLError("redirected to something other than the web")
        req.timeout = self._fetcher.remaining_s()
        return super().redirect_request(req, fp, code, msg, headers, newurl)
