"""Access to the page: addresses, passwords, host names, methods, headers."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config_tables import Listen, parse_listen
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.auth import HEADERS, OPEN_PATHS
from edge.sinks.web.sink import WebPage, find_password
from tests.support.web_client import Clock, basic_auth, config, get, serving

PASSWORD = "grün : & geheim"


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)


def test_an_address_is_parsed() -> None:
    for text, host, port in (
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":8080", "127.0.0.1", 8080),
        ("localhost:80", "127.0.0.1", 80),
        ("[::1]:8080", "::1", 8080),
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        ("[::]:8080", "::", 8080),
        ("192.168.1.20:0", "192.168.1.20", 0),
    ):
        assert parse_listen(text) == Listen(host, port)
        assert parse_listen(text).loopback == (host in ("127.0.0.1", "::1"))


WRONG = ["8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:8080", "[127.0.0.1]:1", "1.2.3:80", "my.host:80"]


@pytest.mark.parametrize("text", [*WRONG, "http://127.0.0.1:80", "127.0.0.1:80/", "127.0.0.1:-1", "[::1%lo]:80"])
def test_a_wrong_address_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match=r'expected an address and a port, such as "127.0.0.1:8080"'):
        parse_listen(text)


@given(st.text(max_size=30) | st.text("[]0123456789abcdef:.", max_size=20))
def test_any_text_is_an_address_or_a_user_error(text: str) -> None:
    with suppress(UserError):
        listen = parse_listen(text)
        assert 0 <= listen.port <= 65535
        assert str(ipaddress.ip_address(listen.host)) == listen.host


def test_a_taken_port_is_an_error_before_the_run_starts() -> None:
    with serving() as page, pytest.raises(UserError) as error:
        WebPage(config(f"127.0.0.1:{page.port}"), Prometheus())
    (line,) = error.value.lines
    assert line.startswith(f"the live page could not be served at {page.url} (Address already in use): choose")


def test_the_page_is_served_at_its_address_alone() -> None:
    with serving() as page:
        addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in addresses - {"127.0.0.1"}:
            connection = http.client.HTTPConnection(str(address), page.port, timeout=1)
            with pytest.raises(OSError):
                connection.request("GET", "/healthz")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.168.1.20:8080"])
def test_other_machines_need_a_password(listen: str) -> None:
    with pytest.raises(UserError) as error:
        WebPage(config(listen), Prometheus())
    assert "set FIRESEG_WEB_PASSWORD or [web] password_file, or listen at 127.0.0.1" in str(error.value)


def test_the_password_comes_from_the_environment_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("from the file\n")
    listen = parse_listen("0.0.0.0:80")
    assert find_password(listen, str(tmp_path / "password")) == "from the file"
    monkeypatch.setenv(WEB_PASSWORD, "from the environment")
    assert find_password(listen, str(tmp_path / "password")) == "from the environment"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_a_short_password_is_refused(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, "1234567")
    with pytest.raises(UserError) as error:
        WebPage(config(listen), Prometheus())
    assert error.value.lines == (
        "the live page's password has 7 characters: expected at least 8 in FIRESEG_WEB_PASSWORD or [web] password_file",
    )


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_without_the_password_only_health_is_served(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    wrong = [basic_auth(password) for password in ("", PASSWORD[:-1], PASSWORD + "x", " & geheim")] + [
        {"Authorization": "Basic ???"}
    ]
    with serving(config(listen), clock=Clock()) as page:
        routes: Any = page._make_app()
        paths = {"/nothing-here", *(route.path for route in routes._app.app.routes)} - {*OPEN_PATHS}
        for path, headers in [*((path, None) for path in paths), *(("/", each) for each in wrong)]:
            code, answered, body = get(page, path, headers=headers)
            assert (path, code, body) == (path, 401, b"Password required; any user name.\n")
            assert answered["WWW-Authenticate"].startswith("Basic realm=")
        assert get(page, "/healthz")[0] == 200
        assert get(page, "/readyz")[0] == 503  # no frame yet
        for user in ("", "anyone", "jürgen"):
            assert get(page, "/api/state", headers=basic_auth(PASSWORD, user))[0] == 200
        assert get(page, "/metrics", headers=basic_auth(PASSWORD))[0] == 200
        assert get(page, "/", headers={"Host": "pi.local", **basic_auth(PASSWORD)})[0] == 200


def test_without_a_password_the_host_header_must_name_this_machine() -> None:
    with serving() as page:
        for host in ("localhost", "127.0.0.1", f"127.0.0.1:{page.port}", "LOCALHOST:9999", "[::1]:80"):
            assert get(page, "/", headers={"Host": host})[0] == 200
        for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "localhost.", "", "::1"):
            code, _, body = get(page, "/api/state", headers={"Host": host})
            assert (host, code) == (host, 403)
            assert b"open it as localhost" in body


def test_only_get_and_head_are_allowed_outside_the_api() -> None:
    with serving() as page:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            for path in ("/", "/nothing-here", *(["/api/state"] if method != "POST" else [])):
                code, headers, body = get(page, path, method=method)
                assert (code, headers["Allow"]) == (405, "GET, HEAD")
                assert body == b"Method not allowed.\n"


def test_every_response_carries_the_security_headers() -> None:
    with serving() as page:
        for path in ("/", "/page.js", "/live.mjpeg", "/state", "/metrics", "/healthz", "/nothing-here"):
            _, headers, body = get(page, path, method="HEAD")
            assert body == b""
            for name, value in HEADERS.items():
                assert headers.get_all(name) == [value]
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in policy
            assert headers["Server"] is None
