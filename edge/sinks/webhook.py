"""Post each event as JSON to a URL, at least once; optionally signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import threading
import urllib.parse
from collections.abc import Callable

from edge.errors import one_line, reason_of
from edge.http_deadline import post
from edge.retry import backoff_s
from edge.secrets import redact
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.outbox import Outbox, OutboxSink, RejectedError
from edge.sinks.queue_files import as_event

SIGNATURE = "X-FireSeg-Signature"
REJECTED_CODES = (400, 409, 413, 415, 422)  # the receiver refuses this event; any other failure is a reason to retry
REMEDIES = {
    401: "check [webhook] user and password_file",
    403: "check [webhook] user, password_file and secret_file",
    404: "check [webhook] url",
    405: "check [webhook] url",
    410: "check [webhook] url",
}


class Webhook(OutboxSink):
    """Posts each event; copies, sent after a lost response, have the same Idempotency-Key.

    Args:
        url: http or https; may contain user:password@.
        events: events still to be posted.
        secret: signs each body by HMAC-SHA256, as `X-FireSeg-Signature: sha256=<hex>`.
        timeout_s: how long a request may take as a whole.
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
        super().__init__("webhook", Outbox(public_address(url), events, self._post, wait_s=wait_s))

    def _post(self, body: bytes, _stop: threading.Event) -> bool:
        event = as_event(body)
        if event is None:
            raise RejectedError("not an event")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "fireseg-edge",
            "Idempotency-Key": f"{event['id']}-{event['number']}",
        }
        if self._login:
            headers["Authorization"] = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._secret:
            headers[SIGNATURE] = f"sha256={hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()}"
        try:
            answer = post(self._url, body, headers, self._timeout_s)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # A ValueError quotes the URL, which may be the secret.
            raise ConnectionError(type(error).__name__ if isinstance(error, ValueError) else reason_of(error)) from None
        status = one_line(f"{answer.status} {answer.reason}")
        if answer.status in REJECTED_CODES:
            raise RejectedError(status)
        if answer.status >= 400:
            raise ConnectionError(": ".join(filter(None, (status, REMEDIES.get(answer.status, "")))))
        if answer.status >= 300:
            raise ConnectionError(
                f"{status}: redirected{redirect_target(answer.location)}, set [webhook] url to the final address"
            )
        return True


def public_address(url: str) -> str:
    """Return scheme and host alone: the path may be a secret, as with chat services."""
    parts = urllib.parse.urlsplit(redact(url))
    return f"{parts.scheme}://{parts.netloc}/…"


def redirect_target(location: str) -> str:
    """Return where a redirect leads, without its path."""
    try:
        is_address = urllib.parse.urlsplit(location).netloc
        return f" to {one_line(public_address(location))}" if is_address else ""
    except ValueError:
        return ""


def _split_login(url: str) -> tuple[str, str]:
    """Return the URL without its login, which urllib cannot handle, and user:password."""
    parts = urllib.parse.urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), urllib.parse.unquote(login) if at else ""
