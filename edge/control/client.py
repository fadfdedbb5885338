"""Send actions to a run on this machine from the command line, through its live page."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from edge.config import Config
from edge.config_tables import parse_listen
from edge.errors import UserError, one_line, reason_of
from edge.secrets import WEB_PASSWORD, read_secret

TIMEOUT_S = 30.0
TOKEN_HEADER = "X-FireSeg-Token"

Ask = Callable[..., dict[str, Any]]
"""Sends a request with method, path, and optionally headers and body; returns the JSON object of the response."""


def act(config: Config, action: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send an action to the run that serves `[web] listen` and return its answer. Raises `UserError`.

    Example:
        >>> act(load_config(Path("fireseg.toml")), "snooze", {"minutes": 60})
    """
    with _run_of(config) as ask:
        token = ask("GET", "/api/token")["token"]
        if token is None:
            raise UserError("the run has no password, which actions need", "set [web] password_file and restart it")
        headers = {TOKEN_HEADER: token, "Content-Type": "application/json"}
        return ask("POST", f"/api/{action}", headers, json.dumps(arguments or {}))


def get_state(config: Config) -> dict[str, Any]:
    """Return the state of the run that serves `[web] listen`, as its page shows it. Raises `UserError`."""
    with _run_of(config) as ask:
        return ask("GET", "/api/state")


@contextmanager
def _run_of(config: Config) -> Iterator[Ask]:
    """Yield a function that sends requests to a run. Raises `UserError`, also for failures inside the block."""
    if not config.web.listen:
        raise UserError("the run has no live page to take actions", "set [web] listen and password_file")
    password = read_secret(WEB_PASSWORD, config.web.password_file)
    if password is None:
        raise UserError("actions need the page's password", f"set {WEB_PASSWORD} or [web] password_file")
    listen = parse_listen(config.web.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    connection = http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT_S)
    login = {"Authorization": f"Basic {base64.b64encode(b':' + password.encode()).decode()}"}

    def ask(method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> dict[str, Any]:
        return _answer(connection, method, path, login | (headers or {}), body)

    try:
        yield ask
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        reason = "no answer" if isinstance(error, socket.timeout) else reason_of(error)
        problem = f"the run at {listen.url(listen.port)} could not be reached ({reason})"
        raise UserError(problem, "start it, and check [web] listen") from error
    finally:
        connection.close()


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: str | None = None
) -> dict[str, Any]:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read(1 << 20)
    if response.status >= 400:
        text = data.decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["error"]
        raise UserError(one_line(text))
    answer = json.loads(data)
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    return answer
