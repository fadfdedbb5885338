"""Access to the live page: the address, the password, and the headers of every response.

The page shows a home, so only this machine may open it unless there is a password. Without one, a request must name
this machine in its Host header, so that no other site reaches the page through its own domain (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edge.config import LOOPBACK, Listen
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD, read_secret

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
UNAUTHORISED = {"www-authenticate": 'Basic realm="FireSeg Edge", charset="UTF-8"'}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def find_password(listen: Listen, file: str) -> str | None:
    """Return the page's password, or None on a loopback address without one.

    Raises `UserError` if other machines could open the page without a password.
    """
    password = read_secret(WEB_PASSWORD, file)
    if password is None and not listen.loopback:
        raise UserError(
            f"the live page at {listen.host} would be open to other machines without a password",
            f"set {WEB_PASSWORD} or [web] password_file, or listen at {LOOPBACK}:{listen.port}",
        )
    return password


class Guard:
    """ASGI middleware: refuses requests without the password, and adds the security headers to every response.

    Args:
        app: the guarded application.
        password: required of every request, with any user name; None on a loopback address.
        host: the address that is served.
    """

    def __init__(self, app: App, *, password: str | None, host: str) -> None:
        self._app = app
        self._password = password.encode() if password is not None else None
        self._hosts = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message.get("headers", ())}
                missing = [pair for pair in encode_headers(HEADERS) if pair[0] not in present]
                message["headers"] = [*message.get("headers", ()), *missing]
            await send(message)

        headers = dict(scope["headers"])
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(send_with_headers, 405, "Method not allowed.", {"allow": "GET, HEAD"})
        elif self._password is None and not self._is_this_machine(headers.get(b"host", b"")):
            await refuse(send_with_headers, 403, "Unknown host: without a password, open it as localhost or 127.0.0.1.")
        elif not self._has_password(headers.get(b"authorization", b"")) and scope["path"] not in OPEN_PATHS:
            await refuse(send_with_headers, 401, "Password required; any user name.", UNAUTHORISED)
        else:
            await self._app(scope, receive, send_with_headers)

    def _is_this_machine(self, host: bytes) -> bool:
        """Whether a Host header names this machine, at any port: SSH forwarding changes the port."""
        return re.sub(r":[0-9]+$", "", host.decode("latin-1").lower()) in self._hosts

    def _has_password(self, authorization: bytes) -> bool:
        if self._password is None:
            return True
        scheme, _, encoded = authorization.partition(b" ")
        try:
            password = base64.b64decode(encoded.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return False
        return scheme.lower() == b"basic" and secrets.compare_digest(password, self._password)


async def refuse(send: Send, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
    """Respond with one line of text."""
    body = f"{reason}\n".encode()
    all_headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    await send({"type": "http.response.start", "status": status, "headers": encode_headers(all_headers)})
    await send({"type": "http.response.body", "body": body})


def encode_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
