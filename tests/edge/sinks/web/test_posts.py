"""Actions posted to the page: with the password and the token alone, and a wrong body is one sentence."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from edge.control.actions import Actions, number_argument
from edge.secrets import WEB_PASSWORD
from edge.sinks.web.app import MAX_BODY_BYTES
from edge.sinks.web.sink import WebPage
from tests.support.waiting import TIMEOUT_S
from tests.support.web_client import basic_auth, config, get, serving

PASSWORD = "grün : & geheim"
SIGNED_IN = basic_auth(PASSWORD)


@pytest.fixture
def asked() -> list[Any]:
    """The minutes that the page asked for."""
    return []


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> Iterator[WebPage]:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)

    def snooze(arguments: Any) -> dict[str, Any]:
        asked.append(number_argument(arguments, "minutes", 60, low=0, high=1440))
        return {"minutes": asked[-1]}

    with closing(Actions()) as actions:
        actions.register("snooze", snooze, is_slow=True)  # no loop runs here
        with serving(actions=actions) as page:
            yield page


def post(page: WebPage, body: bytes | str = "", path: str = "/api/snooze", **headers: str) -> tuple[int, str]:
    """Return status and body; `headers` replace those of our own page."""
    named = (
        SIGNED_IN | {"X-FireSeg-Token": token(page)} | {key.replace("_", "-"): each for key, each in headers.items()}
    )
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)) as connection:
        connection.request("POST", path, body, named)
        response = connection.getresponse()
        return response.status, response.read().decode()


def token(page: WebPage) -> str:
    answer: str = json.loads(get(page, "/api/token", headers=SIGNED_IN)[2])["token"]
    return answer


def test_a_post_with_password_and_token_is_carried_out(page: WebPage, asked: list[Any]) -> None:
    assert post(page, '{"minutes": 30}') == (200, '{"minutes":30.0}')
    assert post(page) == (200, '{"minutes":60.0}')
    assert asked == [30, 60]


def test_without_password_or_token_nothing_is_changed(page: WebPage, asked: list[Any]) -> None:
    assert post(page, Authorization="") == (401, "Password required; any user name.\n")
    assert post(page, Authorization=basic_auth("wrong password")["Authorization"])[0] == 401
    for wrong in ("", "x", "ü".encode().decode("latin-1"), token(page)[:-1]):
        assert post(page, X_FireSeg_Token=wrong) == (403, "Wrong token: reload the page.\n")
    assert get(page, "/api/snooze", headers=SIGNED_IN)[0] == 405
    assert get(page, "/api/token")[0] == 401
    assert asked == []


def test_a_page_without_a_password_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)
    with serving(config()) as page:
        assert json.loads(get(page, "/api/token")[2]) == {"token": None}
        code, _, body = get(page, "/api/snooze", method="POST")
        assert (code, body) == (403, b"Changes need a password: set [web] password_file.\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[]", 'the body is not a JSON object: expected JSON such as {"minutes": 60}'),
        ("{", "the body is not a JSON object"),
        (b"\xff", "the body is not a JSON object"),
        ("[" * 100_000, "the body is not a JSON object"),
        (" " * (MAX_BODY_BYTES + 1), "the body has more than 256 KiB: expected a small JSON object"),
        ('{"minutes": NaN}', "minutes is nan"),
        ('{"minutes": [1, {"a": "b\\nc"}]}', "minutes is [1, {'a': 'b"),
    ],
)
def test_a_wrong_body_is_one_sentence(body: bytes | str, expected: str, page: WebPage, asked: list[Any]) -> None:
    code, answer = post(page, body)
    error = json.loads(answer)["error"]
    assert (code, error[: len(expected)], error.count("\n")) == (400, expected, 0)
    assert asked == []


def test_a_client_that_leaves_within_its_body_leaves_no_traceback(
    page: WebPage, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    headers = SIGNED_IN | {"X-FireSeg-Token": token(page), "Host": "localhost", "Content-Length": "100"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with closing(socket.create_connection(("127.0.0.1", page.port))) as client:
        client.sendall(f"POST /api/snooze HTTP/1.1\r\n{lines}\r\n{{".encode())
        get(page, "/healthz")  # the body has been waited for since
    get(page, "/healthz")
    assert not asked and "Traceback" not in capsys.readouterr().err
