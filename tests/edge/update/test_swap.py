"""A real run takes a new model from a real repository: the gap between results, and a run that dies."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.files import sha256
from edge.model.card import attach
from edge.model.probe import make_probe
from edge.update.store import CURRENT, TRIAL, Outcome
from edge.update.update import Update
from export.self_test import with_self_test
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.model_repository import INSTALLED, Machine, Site
from tests.support.tiny_models import FOLDER, HEIGHT, WIDTH
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow
SAME_SIZE_S, OTHER_SIZE_S = 1.0, 5.0


class NoisyRoom(BaseHTTPRequestHandler):
    """A camera that sends a room without fire, with noise, one JPEG per request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        room = make_probe().room
        noise = np.random.default_rng().normal(0, 3, room.shape)
        data = cv2.imencode(".jpg", np.clip(room[..., ::-1] + noise, 0, 255).astype(np.uint8))[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def camera() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoisyRoom)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/room.jpg"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def run(machine: Machine) -> Iterator[EdgeProcess]:
    with camera() as address, edge_process("--config", machine.path, "--source", address) as run:
        run.wait_for_results(60)
        yield run


def gaps_s(run: EdgeProcess) -> list[float]:
    """Return the times between results, in order."""
    times_s = [result["t_s"] + result["age_ms"] / 1000 for result in run.results]
    return [later - earlier for earlier, later in itertools.pairwise(times_s)]


def skip_on_a_busy_machine() -> None:
    """Skip the bound, after all else was checked: other programs pause the run for longer than a swap does."""
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip(f"the gap is not judged at a load of {os.getloadavg()[0]:.0f}")


def test_a_model_of_the_same_size_is_swapped_without_a_pause(
    site: Site, machine: Machine, newer: Path, run: EdgeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    published, count = site.repository().add(newer, "base"), len(run.results)
    report = machine.update()
    assert (report.result, machine.store.sha256(CURRENT)) == ("adopted", published)
    swap = gaps_s(run)
    with capsys.disabled():
        print(
            f"\nlongest time between results: before {max(swap[:count]):.2f} s, with the swap {max(swap[count:]):.2f} s"
        )
    run.wait_for_log("is adopted")
    assert run.stop() == 0
    skip_on_a_busy_machine()
    assert max(swap[count:]) - max(swap[:count]) < SAME_SIZE_S


def test_a_model_of_another_size_is_swapped_there_and_back_with_short_pauses(
    site: Site, tmp_path: Path, card: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path, flatbuffer = tmp_path / "tiny.tflite", (FOLDER / "int8.tflite").read_bytes()
    path.write_bytes(attach(flatbuffer, with_self_test(path, flatbuffer, card)))
    site.repository().add(path, "base")
    machine = Machine(tmp_path / "other", site, INSTALLED, max_marked=1.0)  # it may detect fire everywhere
    with camera() as address, edge_process("--config", machine.path, "--source", address) as run:
        run.wait_for_results(60)
        count = len(run.results)
        assert machine.update().result == "adopted"
        seen = len(run.log)
        Update(machine.config).roll_back()
        assert str(INSTALLED) in run.wait_for_log("configuration reloaded; the model is", since=seen)
        run.wait_for_results(5)
        swaps = gaps_s(run)
    with capsys.disabled():
        print(f"\n{HEIGHT}x{WIDTH} px: before {max(swaps[:count]):.2f} s, with two swaps {max(swaps[count:]):.2f} s")
    skip_on_a_busy_machine()
    assert max(swaps[count:]) - max(swaps[:count]) < OTHER_SIZE_S


def test_a_run_that_dies_during_a_trial_starts_with_the_model_before_and_the_next_update_tries_it_again(
    site: Site, machine: Machine, newer: Path, run: EdgeProcess
) -> None:
    published = site.repository().add(newer, "base")

    updating = threading.Thread(target=machine.update)  # it waits for a verdict in vain
    updating.start()
    wait_for(lambda: (last := machine.store.read_trial()) and last.outcome is Outcome.RUNNING, 300)
    run.wait_for_log("configuration reloaded")
    run.stop(signal.SIGSEGV)
    updating.join()
    with camera() as address, edge_process("--config", machine.path, "--source", address) as second:
        second.wait_for_log("was interrupted: the run crashed or was killed during the trial")
        second.wait_for_results(3)
        assert any(str(INSTALLED) in line for line in second.log)
        last = machine.store.read_trial()
        assert last
        assert (last.sha256, last.outcome, machine.store.sha256(TRIAL)) == (published, Outcome.INTERRUPTED, "")
        assert machine.store.sha256(CURRENT) == ""
        assert sha256(INSTALLED) != published
        assert machine.update().result == "adopted"
        assert not second.events, "an interrupted trial is not reported"
