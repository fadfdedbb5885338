"""Post each event as JSON to a URL, at least once; optionally signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from edge.messages import FireEvent
from edge.retry import backoff_s
from edge.secrets import redact
from edge.sinks import Sink
from edge.sinks.outbox import DiskQueue, Outbox

log = logging.getLogger(__name__)

SIGNATURE = "X-FireSeg-Signature"
RETRY_CODES = (408, 425, 429)  # 4xx codes worth retrying; any other 4xx rejects the payload
MAX_RESPONSE_BYTES = 1 << 16


class Webhook(Sink):
    """Posts each event; copies, sent after a lost response, have the same Idempotency-Key.

    Args:
        url: http or https; may contain user:password@.
        events: events still to be posted.
        secret: signs each body by HMAC-SHA256, as `X-FireSeg-Signature: sha256=<hex>`.
        timeout_s: how long to wait for a response.
        wait_s: seconds to wait after a number of failures in a row.
    """

    def __init__(
        self,
        url: str,
        events: DiskQueue,
        *,
        secret: str | None = None,
        timeout_s: float = 10.0,
        wait_s: Callable[[int], float] = backoff_s,
    ) -> None:
        self._url, self._login = _split_login(url)
        self._secret, self._timeout_s = secret, timeout_s
        self._open = urllib.request.build_opener(_AnyStatus).open
        # The log shows scheme and host alone: the path may be a secret, as with chat services.
        parts = urllib.parse.urlsplit(redact(url))
        self._name = f"{parts.scheme}://{parts.netloc}/…"
        self._outbox = Outbox(self._name, events, self._post, wait_s=wait_s)

    def on_event(self, event: FireEvent) -> None:
        self._outbox.put(json.dumps(event.as_json()).encode())

    def close(self) -> None:
        self._outbox.close()

    def _post(self, body: bytes, _stop: threading.Event) -> bool:
        event = json.loads(body)
        if not (isinstance(event, dict) and {"id", "number"} <= event.keys()):
            log.error("a document in the outbox is not an event: dropped")
            return True
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "fireseg-edge",
            "Idempotency-Key": f"{event['id']}-{event['number']}",
        }
        if self._login:
            headers["Authorization"] = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._secret:
            headers[SIGNATURE] = f"sha256={hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._open(request, timeout=self._timeout_s) as response:
                response.read(MAX_RESPONSE_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # A ValueError quotes the URL, which may be the secret.
            reason = "" if isinstance(error, ValueError) else str(getattr(error, "reason", error))
            raise ConnectionError(reason or type(error).__name__) from None
        if response.status >= 500 or response.status in RETRY_CODES:
            raise ConnectionError(f"{response.status} {response.reason}")
        if response.status >= 300:
            log.error("%s rejected an event (%s %s): dropped", self._name, response.status, response.reason)
        return True


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Return every response. Redirects are not followed: urllib would send a GET and lose the event."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


def _split_login(url: str) -> tuple[str, str]:
    """Return the URL without its login, which urllib cannot handle, and user:password."""
    parts = urllib.parse.urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), urllib.parse.unquote(login) if at else ""
