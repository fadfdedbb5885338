"""systemd hears that the run is ready, how it fares, and of life only while frames go all the way through."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import camera, free_port
from edge.host.machine import HostStatus
from edge.messages import CameraState, RunStatus
from edge.sinks import Sink, Sinks
from edge.sinks.systemd import Systemd, from_environment
from tests.support.factories import MODEL_HASH, result

WAIT_S = 60.0
WATCHDOG_S = 4.0
"""Of the real runs: fed each second."""


def status(*, last_result_age_s: float = 0.1, state: CameraState = CameraState.STREAMING) -> RunStatus:
    machine = HostStatus(None, None, None, None)
    return RunStatus("test", state, 1, 100.0, 900, 3, 9.7, last_result_age_s, machine, MODEL_HASH)


class Manager:
    """The side of the socket that is systemd's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.heard: list[tuple[float, str]] = []
        """Each assignment with the moment when it was heard."""

    def listen(self, for_s: float = 0.0) -> list[str]:
        """All that was said until now, or will be in so many seconds."""
        until_s = time.monotonic() + for_s
        while True:
            self.socket.settimeout(max(0.001, until_s - time.monotonic()))
            try:
                said = self.socket.recv(4096).decode()
            except (TimeoutError, BlockingIOError):
                return [text for _, text in self.heard]
            self.heard += [(time.monotonic(), line) for line in said.splitlines()]

    def wait_for(self, assignment: str, count: int = 1) -> list[float]:
        """Listen until something was said so often; when it was."""
        gives_up_s = time.monotonic() + WAIT_S
        while len(at_s := [at for at, text in self.heard if text.startswith(assignment)]) < count:
            assert time.monotonic() < gives_up_s, f"heard no {assignment}, but {self.heard[-5:]}"
            self.listen(0.05)
        return at_s


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    with listening.socket:
        yield listening


def test_ready_is_said_once_and_the_status_each_time(manager: Manager) -> None:
    sink = Systemd(manager.address)
    sink.on_status(status(state=CameraState.CONNECTING, last_result_age_s=0))
    sink.on_result(result(1.0, 0.0, on=False))
    sink.on_status(status())
    sink.on_result(result(2.0, 0.2, on=True, zone="stove"))
    sink.on_status(status())
    sink.on_status(status(last_result_age_s=75, state=CameraState.RECONNECTING))
    sink.close()
    assert manager.listen() == [
        "READY=1",
        "STATUS=connecting, no frame for 0 s",
        "STATUS=no fire, 9.7 frames/s, 12 ms old",
        "STATUS=FIRE in stove, 9.7 frames/s, 12 ms old",
        "STATUS=reconnecting, no frame for 75 s",
        "STOPPING=1",
        "STATUS=ending",
    ]


def test_an_abstract_socket_is_spoken_to_as_well() -> None:
    listening = Manager(f"@fireseg-test-{os.getpid()}")
    with listening.socket:
        Systemd(listening.address).on_status(status())
        assert listening.listen()[0] == "READY=1"


def test_the_watchdog_is_fed_by_results_alone_and_no_more_than_it_needs(manager: Manager) -> None:
    now_s = 0.0
    sink = Systemd(manager.address, watchdog_s=120, clock=lambda: now_s)
    for second in range(121):
        now_s = float(second)
        sink.on_result(result(now_s, 0.0, on=False))
    assert manager.listen() == ["WATCHDOG=1"] * 5
    now_s = 500.0
    sink.on_status(status())
    assert "WATCHDOG=1" not in manager.listen()[5:]


def test_without_a_watchdog_none_is_fed(manager: Manager) -> None:
    sink = Systemd(manager.address)
    sink.on_result(result(1.0, 0.0, on=False))
    assert manager.listen() == []


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    sink = Systemd(manager.address, watchdog_s=0.001, clock=time.monotonic)
    sinks = Sinks([sink], time.monotonic)

    def tell() -> None:
        for number in range(2000):
            sinks.on_result(result(float(number), 0.0, on=False))
            sinks.on_status(status())

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(WAIT_S / 4)
    assert not telling.is_alive()
    assert "Systemd failed and is passed over" in caplog.text
    manager.listen()
    manager.heard.clear()
    sinks.on_status(status())
    assert manager.listen() == ["STATUS=no fire, 9.7 frames/s, 12 ms old"]


@pytest.mark.parametrize(
    ("told", "fed"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "self"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "rubbish"}, None),
    ],
)
def test_the_watchdog_is_as_the_environment_has_it(
    told: dict[str, str], fed: float | None, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    for name, value in told.items():
        monkeypatch.setenv(name, value.replace("self", str(os.getpid())))
    sink = from_environment()
    assert sink
    sink.on_result(result(1.0, 0.0, on=False))
    assert manager.listen() == (["WATCHDOG=1"] if fed else [])


def test_it_is_told_last_and_only_under_a_service_manager(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
    from edge.config import Config
    from edge.sinks.factory import build_sinks

    def chosen() -> list[type[Sink]]:
        return [type(sink) for sink in build_sinks(Config(), as_json=True, record=None)]

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert Systemd not in chosen()
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    assert chosen()[-1] is Systemd


@contextmanager
def served(manager: Manager, model: Path, source: str) -> Iterator[ProcessUnderTest]:
    """A run as systemd starts it."""
    told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(round(1e6 * WATCHDOG_S))}
    with start_run("--model", model, "--source", source, environment=told) as watched:
        yield watched


def test_a_run_is_ready_and_alive_and_says_that_it_ends(manager: Manager, shipped_model: Path) -> None:
    with served(manager, shipped_model, "test-pattern") as watched:
        (ready_s,) = manager.wait_for("READY=1")
        fed_s = manager.wait_for("WATCHDOG=1", count=3)
        manager.wait_for("STATUS=no fire, ")
        watched.terminate()
        manager.wait_for("STOPPING=1")
    assert ready_s < fed_s[0]
    assert max(later - earlier for earlier, later in itertools.pairwise(fed_s)) < WATCHDOG_S
    assert len(manager.wait_for("READY=1")) == 1
    assert watched.process.returncode == 0


def test_a_camera_that_is_away_at_boot_is_waited_for_without_a_sign_of_life(
    manager: Manager, shipped_model: Path
) -> None:
    with served(manager, shipped_model, f"http://127.0.0.1:{free_port()}/live"):
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=", count=3)
    assert "WATCHDOG=1" not in manager.listen()


def test_a_camera_that_stands_still_starves_the_watchdog_until_it_goes_on(
    manager: Manager, shipped_model: Path
) -> None:
    with camera(fps=10, fire=False) as (address, process), served(manager, shipped_model, address):
        manager.wait_for("WATCHDOG=1", count=2)
        process.send_signal(signal.SIGSTOP)
        manager.listen(for_s=0.5)  # what was under way
        fed = manager.listen().count("WATCHDOG=1")
        assert manager.listen(for_s=WATCHDOG_S).count("WATCHDOG=1") == fed
        assert any("no frame for" in text for _, text in manager.heard)
        process.send_signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG=1", count=fed + 1)
