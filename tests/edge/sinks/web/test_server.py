"""Clients that hold connections without using them: they get little room, and not for long."""

from __future__ import annotations

import errno
import http.client
import logging
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from edge.sinks.web.server import MAX_CONNECTIONS, LimitedListener, RateLimitFilter, connection_limit
from edge.sinks.web.sink import WebPage
from tests.support.web_client import LARGE, TIMEOUT_S, FrameFeeder, Viewer, get, serving, wait_until


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("edge"), "propagate", True)
    with caplog.at_level(logging.WARNING, "edge"):
        yield caplog


def connect(page: WebPage) -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), TIMEOUT_S)


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


# Idle time


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG"]
)
def test_a_client_that_sends_no_whole_request_is_disconnected(sent: bytes) -> None:
    with serving(idle_s=0.3) as page, connect(page) as client:
        began_s = time.monotonic()
        client.sendall(sent)
        received = b""
        while chunk := client.recv(4096):
            received += chunk
        assert time.monotonic() - began_s >= 0.25
        assert received.startswith(b"HTTP/1.1 200") == (sent.endswith(b"\r\n\r\nG"))


def test_a_request_that_drips_in_gains_no_time() -> None:
    with serving(idle_s=0.3) as page, connect(page) as client, pytest.raises(OSError):
        end_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end_s:
            client.sendall(b"a")
            time.sleep(0.05)


@pytest.mark.slow
def test_viewers_and_clients_that_ask_again_in_time_stay_connected() -> None:
    idle_s = 2.0
    with serving(idle_s=idle_s) as page, FrameFeeder(page, fps=20), Viewer(page) as viewer:
        client = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)
        client.connect()
        first = client.sock
        end_s = time.monotonic() + 1.5 * idle_s
        while time.monotonic() < end_s:
            client.request("GET", "/healthz")
            client.getresponse().read()
            viewer.jpeg()
        assert client.sock is first
        client.close()


@pytest.mark.slow
def test_a_viewer_that_stops_reading_is_disconnected_and_the_others_stay() -> None:
    with serving(idle_s=1.0) as page, FrameFeeder(page, fps=20, size=LARGE), Viewer(page), Viewer(page) as reader:
        end_s = time.monotonic() + TIMEOUT_S
        while page._live.viewers != 1:
            reader.jpeg()
            assert time.monotonic() < end_s
        reader.jpeg()


# Room


def test_clients_above_the_limit_are_refused_while_viewers_go_on(
    warnings: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as page, FrameFeeder(page, fps=20), Viewer(page) as viewer, ExitStack() as stack:
        viewer.jpeg()
        clients = [stack.enter_context(connect(page)) for _ in range(2 * MAX_CONNECTIONS)]
        wait_until(lambda: sum(map(is_open, clients)) == MAX_CONNECTIONS - 1)
        with pytest.raises(OSError):
            get(page, "/healthz")
        for _ in range(3):
            viewer.jpeg()
        for client in clients:
            client.close()
        wait_until(lambda: page._server.listener.open_connections == 1)
        assert get(page, "/healthz")[0] == 200
        viewer.jpeg()
    (line,) = [record.getMessage() for record in warnings.records]
    assert line == "the live page refuses 127.0.0.1: 64 connections are open, its limit"
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_crowd_of_bad_clients_and_viewers_does_not_slow_the_loop() -> None:
    head = b"GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n"
    with serving(idle_s=2.0) as page, ExitStack() as stack, FrameFeeder(page, fps=20, size=LARGE) as feeder:
        reader = stack.enter_context(Viewer(page))
        reader.jpeg()
        began = feeder.number
        for _ in range(2):  # once more when the first are gone
            idle = [stack.enter_context(connect(page)) for _ in range(200)]
            dripping = [stack.enter_context(connect(page)) for _ in range(40)]
            wait_until(lambda clients=idle + dripping: not any(map(drip, clients)), 30)  # type: ignore[misc]
            for group in (40, 100):  # clients that never read, then viewers
                clients = [stack.enter_context(connect(page)) for _ in range(group)]
                for client in clients:
                    with suppress(OSError):
                        client.sendall(head + b"\r\n")
                end_s = time.monotonic() + 1.0
                while time.monotonic() < end_s:
                    reader.jpeg()
                    for client in clients if group == 100 else []:
                        client.setblocking(False)
                        with suppress(OSError):
                            client.recv(1 << 20)
            assert page._server.listener.open_connections <= MAX_CONNECTIONS
        published = feeder.number - began
    assert published > 40
    assert feeder.cpu_s / feeder.number < 0.005
    assert feeder.longest_s < 1.0  # a full buffer would hold it up until the client is disconnected


def drip(client: socket.socket) -> bool:
    """Send one byte; return whether the connection is still open."""
    try:
        client.send(b"G")
    except OSError:
        return False
    return is_open(client)


@pytest.mark.parametrize(
    ("descriptors", "limit"), [(1024, 64), (256, 64), (100, 25), (2, 1), (resource.RLIM_INFINITY, 64)]
)
def test_connections_take_at_most_a_quarter_of_the_descriptors(descriptors: int, limit: int) -> None:
    assert connection_limit(descriptors) == limit


def test_without_descriptors_one_line_is_logged_and_the_page_recovers(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[float] = []
    accept = socket.socket.accept

    def exhausted(listener: socket.socket) -> tuple[socket.socket, object]:
        now_s = time.monotonic()
        if isinstance(listener, LimitedListener) and now_s - (failures or [now_s])[0] < 0.5:
            failures.append(now_s)
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    with serving() as page:
        get(page, "/healthz")
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        assert get(page, "/healthz")[0] == 200
    assert len(failures) > 1
    assert capfd.readouterr().err.splitlines() == [
        "the live page: socket.accept() out of system resource ([Errno 24] Too many open files)"
    ]


def test_small_messages_are_sent_without_delay() -> None:
    with serving() as page, Viewer(page, "/state"):
        assert page._server._server is not None
        (connection,) = page._server._server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_errors_of_the_app_are_logged_with_a_traceback_at_a_limited_rate() -> None:
    rate_limit = RateLimitFilter()
    try:
        raise ValueError("ours")
    except ValueError as error:
        exc_info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI application\n", (), exc_info)
    assert rate_limit.filter(record)
    assert record.exc_info is exc_info
    assert not rate_limit.filter(record)
