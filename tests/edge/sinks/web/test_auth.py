"""Who may look at the page, and by which way."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Listen, load_config, parse_listen
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.auth import HEADERS, find_password, open_socket
from edge.sinks.web.sink import WebPage
from tests.support.web_client import ask, basic, config, serving

PASSWORD = "grün & geheim"
GUARDED = (
    "/",
    "/page.js",
    "/live.mjpeg",
    "/snapshot.jpg",
    "/state",
    "/api/state",
    "/api/history",
    "/api/events",
    "/api/areas",
    "/events/a/start.jpg",
    "/metrics",
    "/nothing-here",
)


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)


# Addresses


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        (":8080", "127.0.0.1", 8080, True),
        ("localhost:80", "127.0.0.1", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("192.168.1.20:0", "192.168.1.20", 0, False),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool) -> None:
    assert parse_listen(text) == Listen(host, port)
    assert parse_listen(text).loopback == loopback


WRONG = ["8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:8080", "[127.0.0.1]:1", "1.2.3:80", "my.host:80"]


@pytest.mark.parametrize("text", [*WRONG, "http://127.0.0.1:80", "127.0.0.1:80/", "127.0.0.1:-1", "[::1%lo]:80"])
def test_a_wrong_address_is_told_by_config_check_and_by_a_run(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text(f'[web]\nlisten = "{text}"\n')
    with pytest.raises(UserError) as error:
        load_config(path)
    (line,) = error.value.lines
    assert line.startswith(f'{path}: [web] listen = "{text}": expected an address and a port, such as "127.0.0.1:8080"')


@given(st.text(max_size=30) | st.from_regex(r"(\[[0-9a-f:.]*\]|[0-9.]*):[0-9]{1,6}", fullmatch=True))
def test_no_text_makes_anything_but_an_address_or_a_user_error(text: str) -> None:
    try:
        listen = parse_listen(text)
    except UserError:
        return
    assert 0 <= listen.port <= 65535
    assert str(ipaddress.ip_address(listen.host)) == listen.host


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_is_read_as_a_url_writes_it(address: ipaddress.IPv4Address, port: int) -> None:
    listen = Listen(str(address), port)
    assert parse_listen(listen.url(port).removeprefix("http://").removesuffix("/")) == listen


def test_a_taken_port_ends_the_run_before_it_begins_with_one_line(shipped_model: Path) -> None:
    with open_socket(parse_listen("127.0.0.1:0")) as taken:
        port = taken.getsockname()[1]
        command = "from edge.cli import run; run()"
        arguments = ("run", "--source", "test-pattern", "--model", shipped_model, "--web", f"127.0.0.1:{port}")
        done = subprocess.run(
            [sys.executable, "-c", command, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2
    said = f"error: the web page could not be served at http://127.0.0.1:{port}/ (Address already in use): choose"
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


# Passwords


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.168.1.20:8080"])
def test_no_other_machine_may_look_without_a_password(listen: str) -> None:
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
def test_with_a_password_nothing_but_health_is_told_without_it(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    with serving(config(listen)) as page:
        for path in GUARDED:
            for wrong in ({}, basic(""), basic(PASSWORD[:-1]), basic(PASSWORD + "x"), {"Authorization": "Basic ???"}):
                code, headers, text = ask(page, path, headers=wrong)
                assert (path, code) == (path, 401)
                assert headers["WWW-Authenticate"].startswith("Basic realm=")
                assert len(text) < 100
        assert ask(page, "/healthz")[0] == 200
        assert ask(page, "/readyz")[0] == 503  # no frame has come
        for user in ("", "anyone", "jürgen"):
            assert ask(page, "/api/state", headers=basic(PASSWORD, user))[0] == 200
        assert ask(page, "/metrics", headers=basic(PASSWORD))[0] == 200


def test_a_password_may_hold_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, "a:b:c")
    with serving() as page:
        assert ask(page, "/", headers=basic("a:b:c"))[0] == 200
        assert ask(page, "/", headers=basic("c"))[0] == 401


# Names, methods, headers


def test_without_a_password_only_the_names_of_this_machine_are_answered() -> None:
    with serving() as page:
        for host in ("localhost", "127.0.0.1", f"127.0.0.1:{page.port}", "LOCALHOST:9999", "[::1]:80"):
            assert ask(page, "/", headers={"Host": host})[0] == 200
        for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "localhost.", "", "::1"):
            code, _, text = ask(page, "/api/state", headers={"Host": host})
            assert (host, code) == (host, 403)
            assert b"open it as localhost" in text


def test_with_a_password_the_page_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    with serving() as page:
        assert ask(page, "/", headers={"Host": "pi.local", **basic(PASSWORD)})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_can_be_sent(method: str) -> None:
    with serving() as page:
        for path in ("/", "/nothing-here"):
            code, headers, _ = ask(page, path, method=method)
            assert (code, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/page.js", "/live.mjpeg", "/state", "/metrics", "/healthz", "/nothing-here"])
def test_every_answer_carries_the_headers_that_keep_others_out(path: str) -> None:
    with serving() as page:
        _, headers, text = ask(page, path, method="HEAD")
        assert text == b""
        for name, value in HEADERS.items():
            assert headers.get_all(name) == [value]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert headers["Server"] is None


@pytest.mark.parametrize("path", ["/live.mjpeg", "/state"])
def test_who_asks_for_the_head_of_a_stream_does_not_wait_for_its_end(path: str) -> None:
    with serving() as page:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=2)
        for method, asked in (("HEAD", path), ("GET", "/healthz")):
            connection.request(method, asked)
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
        connection.close()


def test_the_page_listens_where_it_was_told_and_nowhere_else() -> None:
    with serving() as page:
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in others - {"127.0.0.1"}:
            connection = http.client.HTTPConnection(str(address), page.port, timeout=1)
            with pytest.raises(OSError):
                connection.request("GET", "/healthz")
