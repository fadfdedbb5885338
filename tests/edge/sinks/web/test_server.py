"""The server: what clients that hold connections can take from it, its start and its end."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from edge import threads
from edge.secrets import WEB_PASSWORD
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.app import MAX_VIEWERS
from edge.sinks.web.connection import MAX_CONNECTIONS
from edge.sinks.web.server import BACKLOG, IDLE_S
from edge.sinks.web.sink import WebPage
from tests.support.factories import run_status
from tests.support.waiting import TIMEOUT_S, wait_for
from tests.support.web_client import (
    LARGE,
    Clock,
    FrameFeeder,
    Viewer,
    basic_auth,
    config,
    connections,
    get,
    gray,
    serving,
)  # fmt: skip


def connect(page: WebPage, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), TIMEOUT_S, source_address=(source, 0))


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG"]
)
def test_a_client_that_sends_no_whole_request_is_disconnected(sent: bytes) -> None:
    with serving(idle_s=1.0) as page:
        get(page, "/healthz")  # it is served
        began_s = time.monotonic()
        with connect(page) as client:
            client.sendall(sent)
            received = b""
            while chunk := client.recv(4096):
                received += chunk
        assert time.monotonic() - began_s >= 0.95
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
    with serving(idle_s=4.0) as page, FrameFeeder(page, fps=20, size=LARGE), Viewer(page), Viewer(page) as reader:
        wait_for(lambda: page._live.viewers == 2)
        wait_for(lambda: bool(reader.jpeg()) and page._live.viewers == 1)
        reader.jpeg()


def test_crowds_of_two_addresses_lock_out_neither_viewers_nor_new_clients_nor_health_checks(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("edge"), "propagate", True)
    monkeypatch.setenv(WEB_PASSWORD, "long enough")
    right = basic_auth("long enough")
    with serving(config("0.0.0.0:0"), clock=Clock()) as page, FrameFeeder(page, fps=20), ExitStack() as stack:
        viewer = stack.enter_context(Viewer(page, headers=right))
        viewer.jpeg()
        crowd = []
        for number in range(2 * MAX_CONNECTIONS):
            crowd.append(stack.enter_context(connect(page, source=f"127.0.0.{1 + number % 2}")))
            if number % 40 == 0:
                assert get(page, "/healthz")[0] == 200
                assert get(page, "/api/state", headers=right)[0] == 200
        wait_for(lambda: len(connections(page)) == MAX_CONNECTIONS)
        assert get(page, "/healthz")[0] == 200
        assert get(page, "/", headers=right)[0] == 200
        for _ in range(3):
            viewer.jpeg()
        assert not is_open(crowd[0])
        assert is_open(crowd[-1])
        for client in crowd:
            client.close()
        wait_for(lambda: len(connections(page)) == 1)
        viewer.jpeg()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("the live page drops a connection of 127.0.0.")
    assert line.endswith(f": {MAX_CONNECTIONS} are open, its limit")
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_as_many_viewers_as_are_allowed_leave_room_for_a_health_check() -> None:
    with serving(clock=Clock()) as page, ExitStack() as stack:
        page.on_result(gray(1))
        for path in ("/live.mjpeg", "/state"):
            for _ in range(MAX_VIEWERS):
                stack.enter_context(Viewer(page, path)).response.readline()
        for _ in range(2 * MAX_CONNECTIONS):
            stack.enter_context(connect(page))
        assert get(page, "/healthz")[0] == 200
        assert page._live.viewers == MAX_VIEWERS


def test_the_page_runs_again_after_its_server_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.retry.FIRST_WAIT_S", 0.01)
    before = threads.restarts()

    def view(page: WebPage) -> None:
        """Two viewers wait for one another's frames."""
        with FrameFeeder(page, fps=20), Viewer(page) as first, Viewer(page) as second:
            for viewer in 3 * (first, second):
                viewer.jpeg()

    with serving() as page:
        view(page)
        server = page._server._server
        assert server is not None
        server.should_exit = True
        wait_for(lambda: page._server._server is not server)
        view(page)
        assert threads.restarts() == before + 1


def test_a_fire_drill_notices_a_page_that_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(clock=Clock()) as page:
        assert get(page, "/healthz")[0] == 200
        assert page.links()[0].problem == ""
        monkeypatch.setattr("edge.sinks.web.app.make_app", None)
        server = page._server._server
        assert server is not None
        server.should_exit = True
        wait_for(lambda: page.links()[0].problem == "the page is not served")


LIVE = b"GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "sent", "drip", "reads"),
    [
        pytest.param(200, b"", b"", False, id="idle"),
        pytest.param(40, b"GET / HTTP/1.1\r\nX-Slow: ", b"a", False, id="dripping"),
        pytest.param(40, LIVE, b"", False, id="not reading"),
        pytest.param(100, LIVE, b"", True, id="viewers"),
    ],
)
def test_crowds_do_not_slow_the_loop(count: int, sent: bytes, drip: bytes, reads: bool) -> None:
    with serving() as page, FrameFeeder(page, fps=20, size=LARGE) as feeder, Viewer(page) as viewer:
        viewer.jpeg()
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(page)) for _ in range(count)]
            before, first = feeder.number, True
            while feeder.number < before + 40:
                viewer.jpeg()
                for client in clients:
                    client.setblocking(False)
                    with suppress(OSError):  # refused
                        client.send(sent if first else drip)
                        _ = reads and client.recv(1 << 20)
                first = False
                assert len(connections(page)) <= MAX_CONNECTIONS + BACKLOG  # refused ones close a moment later
        wait_for(lambda: len(connections(page)) == 1)
        viewer.jpeg()
    assert feeder.cpu_s / feeder.number < 0.005
    assert feeder.longest_s < IDLE_S / 2  # a full buffer would hold up the loop for the idle time


@pytest.mark.slow
def test_without_descriptors_one_line_is_logged_and_the_page_recovers(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[float] = []
    accept = socket.socket.accept

    def exhausted(listener: socket.socket) -> tuple[socket.socket, object]:
        now_s = time.monotonic()
        if listener.getsockname()[1] == page.port and now_s - (failures or [now_s])[0] < 0.5:
            failures.append(now_s)
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    with serving(clock=Clock()) as page:
        get(page, "/healthz")
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        assert get(page, "/healthz")[0] == 200
    assert len(failures) > 1
    assert capfd.readouterr().err.splitlines() == [
        "the live page: socket.accept() out of system resource ([Errno 24] Too many open files)"
    ]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"])
def test_small_messages_are_sent_without_delay(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, "long enough")
    with serving(config(listen)) as page, Viewer(page, "/state", basic_auth("long enough")):
        (connection,) = connections(page)
        assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_page_closes_whoever_is_connected(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as page, ExitStack() as stack, FrameFeeder(page, fps=20, size=LARGE):
        stuck, state = (stack.enter_context(Viewer(page, path)) for path in ("/live.mjpeg", "/state"))
        state.message()
        wait_for(lambda: any(connection.flow.write_paused for connection in connections(page)))  # stuck
        page.close()
        assert stuck.status == 200
        assert state.response.read() == b""  # the stream ended properly
        wait_for(lambda: not any(thread.name == "web" for thread in threading.enumerate()))
        with pytest.raises(OSError):
            get(page, "/")
    assert capfd.readouterr().err == ""


def test_the_server_starts_with_the_first_frame_or_second_status_unless_closed() -> None:
    for first in ("frame", "status"):
        page = WebPage(config(), Prometheus(), clock=Clock())
        try:
            page.on_status(run_status())
            assert not page._server.started
            page.on_result(gray(1)) if first == "frame" else page.on_status(run_status())
            assert get(page, "/healthz")[0] == 200
        finally:
            page.close()
    page = WebPage(config(), Prometheus())
    page.close()
    page.on_result(gray(1))
    assert not page._server.started


def test_a_run_without_a_page_loads_no_server() -> None:
    code = (
        "import sys; from edge.config import load_config; from edge.sinks.factory import build_sinks; "
        "build_sinks(load_config(None), as_json=True, record=None); "
        "print(sorted({'uvicorn', 'starlette', 'anyio', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
