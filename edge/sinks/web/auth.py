"""Access to the live page: the password, the host name, and the headers of every response.

The page shows a home, so only this machine may open it unless there is a password. Without one, a request must name
this machine in its Host header, so that no other site reaches the page through its own domain (DNS rebinding).
"""

from __future__ import annotations

import base64
import math
import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.sinks.web.guesses import GuessLimiter, network_of

SIGNED_IN = "signed_in"  # in the state of a request that was allowed; `Connection` keeps such clients first
COOKIE = "fireseg"  # holds the token that spares a client the wait after wrong passwords of others; allows nothing
TOKEN = "token"
"""In the state of a request: what a change must send in `TOKEN_HEADER`. Other sites can neither read nor send it."""
TOKEN_HEADER = "x-fireseg-token"
USER = "user"  # in the state of a request: whom the trusted proxy named
USER_HEADERS = "x-remote-user-display-name", "x-remote-user-name"  # of Home Assistant's ingress
OPEN_PATHS = ("/healthz", "/readyz")  # probes have no password
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
FRAMED_HEADERS = HEADERS | {
    "content-security-policy": HEADERS["content-security-policy"].replace("ancestors 'none'", "ancestors 'self'"),
    "x-frame-options": "SAMEORIGIN",
}
"""Of responses to the trusted proxy, whose own pages may show this one in a frame, as Home Assistant does."""


class Guard:
    """ASGI middleware: refuses requests without the password, and adds the security headers to every response.

    Args:
        app: the guarded application.
        password: required of every request, with any user name; None on a loopback address.
        host: the address that is served.
        limiter: makes clients wait after wrong passwords.
        proxy: the IP address of a proxy that signs users in, as Home Assistant's ingress does; empty for none. Its
            requests need no password. Without a password, no other machine's and no other program's are allowed.
    """

    def __init__(
        self, app: ASGIApp, *, password: str | None, host: str, limiter: GuessLimiter, proxy: str = ""
    ) -> None:
        self._app = app
        self._password = password.encode() if password is not None else None
        self._hosts = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
        self._limiter = limiter
        self._proxy = proxy
        self._token = secrets.token_urlsafe(24)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HTTPConnection(scope)
        is_proxied = bool(self._proxy) and client_network(request) == self._proxy
        respond = self._refusal(request, is_proxied)
        needs_cookie = request.url.path not in OPEN_PATHS and not (respond or self._password is None or is_proxied)
        needs_cookie = needs_cookie and request.cookies.get(COOKIE) != self._limiter.token

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (FRAMED_HEADERS if is_proxied else HEADERS).items():
                    headers.setdefault(name, value)
                if needs_cookie:
                    headers["set-cookie"] = f"{COOKIE}={self._limiter.token}; Path=/; HttpOnly; SameSite=Strict"
            await send(message)

        await (respond or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: HTTPConnection, is_proxied: bool) -> ASGIApp | None:
        """Return the response to a request that is not allowed; mark others as signed in."""
        is_change = request.scope["method"] == "POST" and request.scope["path"].startswith("/api/")
        if request.scope["method"] not in ("GET", "HEAD") and not is_change:
            return PlainTextResponse("Method not allowed.\n", 405, {"allow": "GET, HEAD"})
        if is_proxied:
            pass
        elif self._password is None and not self._proxy:
            # Any port: SSH forwarding changes it.
            if re.sub(r":[0-9]+$", "", request.headers.get("host", "").lower()) not in self._hosts:
                return PlainTextResponse("Unknown host: without a password, open it as localhost or 127.0.0.1.\n", 403)
        elif request.scope["path"] in OPEN_PATHS:
            return None
        elif self._password is None:
            return PlainTextResponse("Open it through its proxy, or set [web] password_file.\n", 403)
        elif refusal := self._password_refusal(request, self._password):
            return refusal
        state = request.scope.setdefault("state", {})
        state[SIGNED_IN] = True
        if self._password is not None or is_proxied:
            state[TOKEN] = self._token
        if is_proxied:
            name = next(filter(None, map(request.headers.get, USER_HEADERS)), "")
            state[USER] = name.encode("latin-1").decode("utf-8", "replace")
        return self._change_refusal(request) if is_change else None

    def _change_refusal(self, request: HTTPConnection) -> ASGIApp | None:
        """Return the refusal of a change without a password or the page's token; None if both are valid."""
        if TOKEN not in request.scope["state"]:
            return PlainTextResponse("Changes need a password: set [web] password_file.\n", 403)
        if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            return PlainTextResponse("Wrong token: reload the page.\n", 403)
        return None

    def _password_refusal(self, request: HTTPConnection, password: bytes) -> ASGIApp | None:
        sent = sent_password(request.headers.get("authorization", ""))
        if sent is not None:
            network = client_network(request)
            if wait_s := self._limiter.wait_s(network, sent, request.cookies.get(COOKIE, "")):
                seconds = math.ceil(wait_s)
                text = f"Too many wrong passwords: try again in {seconds} s.\n"
                return PlainTextResponse(text, 429, {"retry-after": str(seconds)})
            if secrets.compare_digest(sent, password):
                self._limiter.record_success(network)
                return None
            self._limiter.record_failure(network, sent)
        challenge = 'Basic realm="FireSeg Edge", charset="UTF-8"'
        return PlainTextResponse("Password required; any user name.\n", 401, {"www-authenticate": challenge})


def client_name(request: HTTPConnection) -> str:
    """Return the address of a client, or the user of the trusted proxy, for the log."""
    user: str = request.scope.get("state", {}).get(USER, "")
    return user or (request.client.host if request.client else "unknown")


def client_network(request: HTTPConnection) -> str:
    """Return the address of a client, or its IPv6 network."""
    return network_of(request.client.host if request.client else "")


def sent_password(authorization: str) -> bytes | None:
    """Return the password in an Authorization header, with any user name; None if it holds none."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    return credentials.partition(b":")[2] if scheme.lower() == "basic" else None
