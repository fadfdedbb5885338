"""What systemd is sent: ready, the status, and a watchdog that only results feed."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import camera, free_port
from edge.messages import CameraProblem, CameraState
from edge.run_status import FailureCounts
from edge.sinks import Sinks
from edge.sinks.systemd import MISSING_LIMIT_S, Systemd, from_environment
from tests.support.factories import result, run_status
from tests.support.waiting import wait_for

TIMEOUT_S = 60.0
WATCHDOG_S = 4.0
"""Of the real runs: fed every second."""


class Manager:
    """systemd's side of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.received: list[tuple[float, str]] = []
        """Each assignment with its time."""

    def listen(self, for_s: float = 0.0) -> list[str]:
        """Return all assignments so far, after listening for some seconds."""
        until_s = time.monotonic() + for_s
        while True:
            self.socket.settimeout(max(0.001, until_s - time.monotonic()))
            try:
                message = self.socket.recv(4096).decode()
            except (TimeoutError, BlockingIOError):
                return [text for _, text in self.received]
            self.received += [(time.monotonic(), line) for line in message.splitlines()]

    def wait_for(self, assignment: str, count: int = 1) -> list[float]:
        """Listen until an assignment was received `count` times; return the times."""

        def times_s() -> list[float]:
            self.listen()
            return [at_s for at_s, text in self.received if text.startswith(assignment)]

        wait_for(lambda: len(times_s()) >= count, TIMEOUT_S)
        return times_s()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        yield manager


def test_ready_is_sent_once_and_the_status_each_time(manager: Manager) -> None:
    sink = Systemd(manager.address)
    sink.on_status(run_status(camera_state=CameraState.CONNECTING, last_result_age_s=0))
    sink.on_result(result(1.0, 0.0, on=False))
    sink.on_status(run_status())
    sink.on_result(result(2.0, 0.2, on=True, zone="stove"))
    sink.on_status(run_status())
    sink.on_status(run_status(last_result_age_s=75, camera_state=CameraState.RECONNECTING))
    sink.close()
    assert manager.listen() == [
        "READY=1",
        "STATUS=connecting, no frame for 0 s",
        "STATUS=no alarm, 9.5 frames/s, 12 ms old",
        "STATUS=FIRE in stove, 9.5 frames/s, 12 ms old",
        "STATUS=reconnecting, no frame for 75 s",
        "STOPPING=1",
        "STATUS=stopping",
    ]


def test_an_abstract_socket_works_too() -> None:
    manager = Manager(f"@fireseg-test-{os.getpid()}")
    with manager.socket:
        Systemd(manager.address).on_status(run_status())
        assert manager.listen()[0] == "READY=1"


def test_the_watchdog_is_fed_by_results_alone_and_four_times_per_timeout(manager: Manager) -> None:
    now_s = 0.0
    sink = Systemd(manager.address, watchdog_s=120, clock=lambda: now_s)
    for second in range(121):
        now_s = float(second)
        sink.on_result(result(now_s, 0.0, on=False))
    assert manager.listen() == ["WATCHDOG=1"] * 5
    now_s = 500.0
    sink.on_status(run_status())
    assert "WATCHDOG=1" not in manager.listen()[5:]


def test_a_thread_that_stays_missing_starves_the_watchdog_until_it_runs_again(manager: Manager) -> None:
    now_s = 0.0
    sink = Systemd(manager.address, watchdog_s=4, clock=lambda: now_s)

    def feeds(seconds: float, *missing: str) -> int:
        nonlocal now_s
        manager.received.clear()
        for _ in range(round(seconds)):
            now_s += 1
            sink.on_status(run_status(failures=FailureCounts(missing_threads=missing)))
            sink.on_result(result(now_s, 0.0, on=False))
            manager.listen()  # the socket holds ten messages
        return manager.listen().count("WATCHDOG=1")

    assert feeds(10) == 10
    assert feeds(MISSING_LIMIT_S, "capture") == MISSING_LIMIT_S
    assert feeds(10, "capture") == 0
    assert "STATUS=no alarm, 9.5 frames/s, 12 ms old; MISSING THREADS capture" in manager.listen()
    assert feeds(10) == 10
    assert feeds(2 * MISSING_LIMIT_S, "host status", "reload") == 2 * MISSING_LIMIT_S, "the watch does without"
    assert sum(feeds(1, name) for name in ("clips", "web") * round(MISSING_LIMIT_S)) == 2 * MISSING_LIMIT_S


def test_the_status_says_that_the_run_fell_back(manager: Manager) -> None:
    Systemd(manager.address).on_status(run_status(fallback="the model is damaged"))
    assert manager.listen()[1].endswith("; FALLBACK to the last configuration and model that worked")


def test_a_manager_that_does_not_listen_does_not_block_the_loop(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    sinks = Sinks([Systemd(manager.address, watchdog_s=0.001)], time.monotonic)

    def publish() -> None:
        for number in range(500):
            sinks.on_result(result(float(number), 0.0, on=False))
            sinks.on_status(run_status())

    loop = threading.Thread(target=publish, daemon=True)
    loop.start()
    loop.join(TIMEOUT_S / 4)
    assert not loop.is_alive()
    assert "Systemd failed (" in caplog.text
    manager.listen()
    manager.received.clear()
    sinks.on_status(run_status())
    assert manager.listen() == ["STATUS=no alarm, 9.5 frames/s, 12 ms old"]


@pytest.mark.parametrize(
    ("environment", "is_fed"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "4000"}, True),
        ({"WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "4000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "rubbish"}, False),
    ],
)
def test_the_environment_enables_the_watchdog(
    environment: dict[str, str], is_fed: bool, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sink = from_environment()
    assert sink
    sink.on_result(result(1.0, 0.0, on=False))
    assert manager.listen() == (["WATCHDOG=1"] if is_fed else [])


@contextmanager
def running(manager: Manager, model: Path, source: str) -> Iterator[ProcessUnderTest]:
    """A run as systemd starts it."""
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(round(1e6 * WATCHDOG_S))}
    with start_run("--model", model, "--source", source, environment=environment) as run:
        yield run


@pytest.mark.slow
def test_a_run_is_ready_and_alive_and_announces_its_end(manager: Manager, shipped_model: Path) -> None:
    with running(manager, shipped_model, "test-pattern") as run:
        (ready_s,) = manager.wait_for("READY=1")
        fed_s = manager.wait_for("WATCHDOG=1", count=3)
        manager.wait_for("STATUS=no alarm, ")
        run.terminate()
        manager.wait_for("STOPPING=1")
    assert ready_s < fed_s[0]
    assert max(later - earlier for earlier, later in itertools.pairwise(fed_s)) < WATCHDOG_S
    assert len(manager.wait_for("READY=1")) == 1
    assert run.process.returncode == 0


@pytest.mark.slow
def test_a_camera_that_is_unreachable_at_boot_does_not_feed_the_watchdog(manager: Manager, shipped_model: Path) -> None:
    with running(manager, shipped_model, f"http://127.0.0.1:{free_port()}/live"):
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=", count=3)
    assert "WATCHDOG=1" not in manager.listen()


@pytest.mark.slow
def test_a_camera_that_freezes_starves_the_watchdog_until_it_resumes(manager: Manager, shipped_model: Path) -> None:
    with camera(fps=10, content="calm") as (address, process), running(manager, shipped_model, address):
        manager.wait_for("WATCHDOG=1", count=2)
        process.send_signal(signal.SIGSTOP)
        since = len(manager.listen())
        wait_for(lambda: any("no frame for" in text for text in manager.listen()[since:]), TIMEOUT_S)
        fed = manager.listen().count("WATCHDOG=1")
        assert manager.listen(for_s=WATCHDOG_S).count("WATCHDOG=1") == fed
        process.send_signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG=1", count=fed + 1)


def test_a_camera_that_cannot_see_is_in_the_status_and_still_feeds_the_watchdog(manager: Manager) -> None:
    now_s = itertools.count()
    sink = Systemd(manager.address, watchdog_s=4.0, clock=lambda: float(next(now_s)))
    for t_s in range(3):
        sink.on_result(replace(result(t_s, 0.1, on=True), camera_problem=CameraProblem.FROZEN))
    sink.on_status(run_status())
    heard = manager.listen()
    sink.close()
    assert heard.count("WATCHDOG=1") == 3
    assert any(line.startswith("STATUS=FIRE in frame, CAMERA CANNOT SEE: frozen") for line in heard)
