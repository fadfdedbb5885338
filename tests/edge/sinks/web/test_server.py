"""Connections that take room and ask nothing: they find little of it, and not for long."""

from __future__ import annotations

import errno
import http.client
import logging
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edge.sinks.web import connection
from edge.sinks.web.door import MOST_CONNECTIONS, MOST_OF_ONE, Door, Seldom, most_connections
from edge.sinks.web.sink import WebPage
from tests.support.web_client import TIMEOUT_S, Camera, Viewer, ask, serving, until

STRANGER = "127.0.0.2"


@pytest.fixture
def doors_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("edge"), "propagate", True)
    with caplog.at_level(logging.WARNING, "edge"):
        yield caplog


def connect(page: WebPage, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), TIMEOUT_S, (address, 0))


def ends(idle: socket.socket) -> bool:
    try:
        return idle.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(idle: socket.socket) -> bool:
    idle.setblocking(False)
    try:
        idle.recv(1)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    return False


def among(page: WebPage) -> int:
    """How many are connected."""
    return sum(inside.fileno() >= 0 for inside in list(page._server._socket._inside))


# Time


@pytest.mark.parametrize(
    "said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG"]
)
def test_who_sends_no_whole_head_in_time_is_disconnected(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.3)
    with serving() as page, connect(page) as idle:
        began_s = time.monotonic()
        idle.sendall(said)
        received = b""
        while chunk := idle.recv(4096):
            received += chunk
        assert 0.25 < time.monotonic() - began_s < 2
        assert received.startswith(b"HTTP/1.1 200") == (said.endswith(b"G") and said != b"G")


def test_a_head_that_trickles_in_wins_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.3)
    with serving() as page, connect(page) as idle:
        began_s = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began_s < 2:
                idle.sendall(b"a")
                time.sleep(0.05)
        assert time.monotonic() - began_s < 1


def test_who_watches_or_asks_again_in_time_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 1.0)
    with serving() as page, Camera(page, fps=20), Viewer(page) as viewer:
        asking = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)
        asking.connect()
        first = asking.sock
        end_s = time.monotonic() + 1.5 * connection.IDLE_S
        while time.monotonic() < end_s:
            asking.request("GET", "/healthz")
            asking.getresponse().read()
            viewer.picture()
        assert asking.sock is first
        asking.close()


def test_who_takes_nothing_of_what_is_sent_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STUCK_S", 1.0)
    with serving() as page, Camera(page, fps=20, size=(720, 960)), Viewer(page), Viewer(page) as reader:
        end_s = time.monotonic() + TIMEOUT_S
        while page._live.viewers != 1:
            reader.picture()
            assert time.monotonic() < end_s
        reader.picture()


# Room


def test_who_comes_to_a_full_house_is_turned_away_and_who_watches_goes_on(
    doors_log: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 3.0)
    with serving() as page, ExitStack() as standing, Camera(page, fps=20), Viewer(page) as viewer:
        viewer.picture()
        idle = [standing.enter_context(connect(page, STRANGER)) for _ in range(2 * MOST_OF_ONE)]
        until(lambda: sum(map(is_open, idle)) == MOST_OF_ONE)
        assert ask(page, "/healthz")[0] == 200  # from elsewhere
        until(lambda: among(page) == 1 + MOST_OF_ONE)
        more = [standing.enter_context(connect(page, "127.0.0.3")) for _ in range(MOST_OF_ONE)]
        until(lambda: sum(map(is_open, idle + more)) == MOST_CONNECTIONS - 1)
        with pytest.raises(OSError):
            ask(page, "/healthz")
        for _ in range(5):
            viewer.picture()
        until(lambda: among(page) == 1)
        assert ask(page, "/healthz")[0] == 200
        viewer.picture()
    (line,) = [record.getMessage() for record in doors_log.records]
    assert line == f"the web page turns viewers away, as 41 are connected: the last was {STRANGER}"
    assert capfd.readouterr().err == ""


def test_descriptors_are_left_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1024, 64), (256, 64), (100, 25), (2, 1), (resource.RLIM_INFINITY, 64)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, 4096))
        assert most_connections() == most
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 4096))
    with serving() as page, ExitStack() as standing:
        idle = [standing.enter_context(connect(page, STRANGER)) for _ in range(20)]
        until(lambda: sum(map(is_open, idle)) == 5)  # of eight
        assert ask(page, "/healthz")[0] == 200


def test_where_no_descriptor_is_left_that_is_logged_once_and_the_page_comes_back(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []
    accept = Door.__base__.accept  # type: ignore[union-attr]

    def exhausted(listening: socket.socket) -> tuple[socket.socket, object]:
        if isinstance(listening, Door) and len(tried) < 3:
            tried.append(time.monotonic())
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    with serving() as page:
        ask(page, "/healthz")
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        assert ask(page, "/healthz")[0] == 200
        assert 1.8 < tried[2] - tried[0] < 4
    assert capfd.readouterr().err.splitlines() == [
        "the web page: socket.accept() out of system resource ([Errno 24] Too many open files)"
    ]


def test_our_own_mistakes_are_logged_with_where_they_were_made_but_seldom() -> None:
    seldom = Seldom()
    try:
        raise ValueError("ours")
    except ValueError as error:
        ours = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application\n", (), ours)
    assert seldom.filter(record)
    assert record.exc_info is ours
    assert not seldom.filter(record)
