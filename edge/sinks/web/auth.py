"""Access to the live page: the password, the host name, and the headers of every response.

The page shows a home, so only this machine may open it unless there is a password. Without one, a request must name
this machine in its Host header, so that no other site reaches the page through its own domain (DNS rebinding).
"""

from __future__ import annotations

import base64
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/healthz", "/readyz")  # probes have no password
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: refuses requests without the password, and adds the security headers to every response.

    Args:
        app: the guarded application.
        password: required of every request, with any user name; None on a loopback address.
        host: the address that is served.
    """

    def __init__(self, app: ASGIApp, *, password: str | None, host: str) -> None:
        self._app = app
        self._password = password.encode() if password is not None else None
        self._hosts = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        respond = self._refusal(scope) or self._app
        await respond(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """Return the response to a request that is not allowed."""
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Method not allowed.\n", 405, {"allow": "GET, HEAD"})
        if self._password is None:
            # Any port: SSH forwarding changes it.
            if re.sub(r":[0-9]+$", "", headers.get("host", "").lower()) in self._hosts:
                return None
            return PlainTextResponse("Unknown host: without a password, open it as localhost or 127.0.0.1.\n", 403)
        if scope["path"] in OPEN_PATHS or has_password(headers.get("authorization", ""), self._password):
            return None
        challenge = 'Basic realm="FireSeg Edge", charset="UTF-8"'
        return PlainTextResponse("Password required; any user name.\n", 401, {"www-authenticate": challenge})


def has_password(authorization: str, password: bytes) -> bool:
    """Return whether an Authorization header holds the password, with any user name."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and secrets.compare_digest(credentials.partition(b":")[2], password)
