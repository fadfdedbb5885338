"""Who may look: where the page listens, the password, and what every request must bring and every answer carries.

The page shows a home. So it is served to this machine alone, unless there is a password; and where there is none, a
request must name this machine, so that no web page elsewhere can reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edge.config import LOOPBACK, Listen
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD, read_secret
from edge.sinks.web.door import Door

BUFFER_BYTES = 128 << 10
"""What the kernel holds for one viewer: pictures in a longer queue would be old when they come."""
OPEN_PATHS = ("/healthz", "/readyz")
"""Who asks whether the run lives has no password at hand, and learns nothing else."""
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
    """The page's password; None where it needs none. Raises `UserError` where other machines could look without one."""
    password = read_secret(WEB_PASSWORD, file)
    if password is None and not listen.loopback:
        raise UserError(
            f"the web page at {listen.host} could be seen by others without a password",
            f"set {WEB_PASSWORD} or [web] password_file, or listen at {LOOPBACK}:{listen.port}",
        )
    return password


def open_socket(listen: Listen) -> Door:
    """Take the address. Raises `UserError` where it is taken, or none of this machine's."""
    try:
        # Not socket.create_server, which would let an address of IPv6 refuse those of IPv4 even for [::].
        listening = Door(socket.AF_INET6 if ":" in listen.host else socket.AF_INET)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)  # connections inherit it
            listening.bind((listen.host, listen.port))
            listening.listen()
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise UserError(
            f"the web page could not be served at {listen.url(listen.port)} ({error.strerror})",
            "choose another port, or an address of this machine",
        ) from error
    return listening


class Guard:
    """Stands before an application and lets through what may look; puts the usual headers on every answer.

    Args:
        app: what is guarded.
        password: that every request must bring, for any user's name; None where a loopback address alone is served.
        host: the address that is served.
    """

    def __init__(self, app: App, *, password: str | None, host: str) -> None:
        self._app = app
        self._password = password.encode() if password is not None else None
        self._hosts = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message.get("headers", ())}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in said]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        headers = dict(scope["headers"])
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(send_guarded, 405, "Nothing can be sent here: only looked at.", {"allow": "GET, HEAD"})
        elif self._password is None and not self._names_this_machine(headers.get(b"host", b"")):
            await refuse(send_guarded, 403, "This page is for this machine alone: open it as localhost or 127.0.0.1.")
        elif not self._knows_password(headers.get(b"authorization", b"")) and scope["path"] not in OPEN_PATHS:
            await refuse(send_guarded, 401, "The page's password is needed; the user may be any.", UNAUTHORISED)
        else:
            await self._app(scope, receive, send_guarded)

    def _names_this_machine(self, host: bytes) -> bool:
        """Whatever the port: a page that is forwarded by SSH has another one there."""
        return re.sub(r":[0-9]+$", "", host.decode("latin-1").lower()) in self._hosts

    def _knows_password(self, authorization: bytes) -> bool:
        if self._password is None:
            return True
        scheme, _, encoded = authorization.partition(b" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return False
        return scheme.lower() == b"basic" and secrets.compare_digest(given, self._password)


async def refuse(send: Send, status: int, why: str, headers: dict[str, str] | None = None) -> None:
    """Answer with one sentence."""
    sentence = f"{why}\n".encode()
    said = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(sentence)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": sentence})
