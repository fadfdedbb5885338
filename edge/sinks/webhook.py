"""Each event as a POST of JSON to a URL of yours: signed where there is a secret, tried again until it is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

from edge.messages import FireEvent
from edge.secrets import redact
from edge.sinks import Sink
from edge.sinks.outbox import Delivery, OutboxSender
from edge.sinks.spool import Spool

log = logging.getLogger(__name__)

SIGNATURE = "X-FireSeg-Signature"
TRY_AGAIN = (408, 425, 429)
"""Answers of the 400s that speak of the moment, not of the request."""
QUIET_ANSWER_BYTES = 1 << 16


class Webhook(Sink):
    """Posts each event; a copy, after an answer that was lost, has the same Idempotency-Key.

    Args:
        url: http or https; may hold user:password@.
        secret: signs each body by HMAC-SHA256, as `X-FireSeg-Signature: sha256=<hex>`.
        timeout_s: how long to wait for an answer.
    """

    def __init__(self, url: str, spool: Spool, *, secret: str | None = None, timeout_s: float = 10.0) -> None:
        self._url, self._login = _without_login(url)
        self._secret = secret
        self._timeout_s = timeout_s
        self._open = urllib.request.build_opener(_NoRedirects).open
        self._well = True
        self._courier = OutboxSender("webhook", spool, self._post)

    def on_event(self, event: FireEvent) -> None:
        self._courier.post(json.dumps(event.as_json()).encode())

    def close(self) -> None:
        self._courier.close()

    def _post(self, body: bytes, _stop: threading.Event) -> Delivery:
        event = json.loads(body)
        if not (isinstance(event, dict) and {"id", "number"} <= event.keys()):
            log.error("what waits in the spool is no event: it is dropped")
            return Delivery.REFUSED
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "fireseg-edge",
            "Idempotency-Key": f"{event['id']}-{event['number']}",
        }
        if self._login:
            headers["Authorization"] = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._secret:
            headers[SIGNATURE] = f"sha256={signature(self._secret, body)}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                answer.read(QUIET_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in TRY_AGAIN:
                log.error("%s refused an event (%s %s): it is dropped", self._name(), error.code, error.reason)
                return Delivery.REFUSED
            return self._later(f"{error.code} {error.reason}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            # A ValueError quotes the address, which may be the secret.
            why = type(error).__name__ if isinstance(error, ValueError) else str(getattr(error, "reason", error))
            return self._later(why or type(error).__name__)
        if not self._well:
            log.info("%s takes events again", self._name())
        self._well = True
        return Delivery.DELIVERED

    def _later(self, why: str) -> Delivery:
        if self._well:  # once is enough, however often it is tried
            log.warning("%s does not take events (%s): they wait and are sent again", self._name(), why)
        self._well = False
        return Delivery.RETRY

    def _name(self) -> str:
        # A path may be the secret, as with chat services: what is shown is the host.
        parts = urllib.parse.urlsplit(redact(self._url))
        return f"{parts.scheme}://{parts.netloc}/…"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would turn a POST that is sent elsewhere into a GET, and the event would be lost."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        return None


def signature(secret: str, body: bytes) -> str:
    """HMAC-SHA256 in hexadecimal."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _without_login(url: str) -> tuple[str, str]:
    """The URL as urllib takes it, and user:password; urllib has no use for them there."""
    parts = urllib.parse.urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), urllib.parse.unquote(login) if at else ""
