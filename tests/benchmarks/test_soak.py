"""The soak's pass or fail decision: slopes, rates and bounds. One real run and one real camera."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchmarks.soak.cost import Cost, throughput
from benchmarks.soak.fault_rig import FaultRig, WebhookReceiver, compile_faults
from benchmarks.soak.faults import Faults, Trial, outcome
from benchmarks.soak.process import ProcessUnderTest, Sample
from benchmarks.soak.report import MIN_EVENTS, cost_figures, fault_figures, quiet_figures
from benchmarks.soak.rig import restated
from benchmarks.soak.steady import DAY_S, HOUR_S, Quiet, Slope, slope, summarise
from edge.images import encode_jpeg
from edge.status import Summary

pytestmark = pytest.mark.bench

MB = 1_000_000
QUIET = Quiet(240.0, 14_000, 5.0, 8.0, 20.0, Slope(0.1, 1.0), 120 * MB, Slope(0.2 * MB, 0.5 * MB), 0.0, 0)
MADE = [(f"fire-{number // 3}", number % 3 + 1) for number in range(MIN_EVENTS)]
FAULTS = Faults([Trial("camera killed", 20, 20, 3.0)], MADE, {"MQTT": MADE, "webhook": MADE}, rss_bytes=200 * MB)


def test_a_slope_is_per_hour_with_its_error() -> None:
    at_s = [10.0 * number for number in range(200)]
    fitted = slope(at_s, [5 + 2 * at / HOUR_S for at in at_s])
    assert fitted.per_hour == pytest.approx(2)
    assert fitted.error == pytest.approx(0, abs=1e-6)


def test_the_warm_up_counts_for_peak_memory_only() -> None:
    run = ProcessUnderTest(cast(object, None), 0.0)  # type: ignore[arg-type]
    for second in range(100):
        run.at_s.append(float(second))
        run.ages_ms.append(1000.0 if second < 30 else 10.0)
        run.inferences_ms.append(5.0)
        run.samples.append(Sample(second, 200 * MB if second == 3 else 100 * MB, 50 * second))
    quiet = summarise(run, warm_up_s=40)
    assert (quiet.results, quiet.age_p99_ms, quiet.rss_bytes) == (60, 10.0, 200 * MB)
    assert quiet.rss.per_hour == pytest.approx(0, abs=0.001)
    assert quiet.written_bytes_per_day == pytest.approx(50 * DAY_S)


@pytest.mark.parametrize(
    "worse",
    [
        {"age_p99_ms": 27.0},
        {"age_ms": Slope(9.0, 1.0)},
        {"rss_bytes": 151 * MB},
        {"rss": Slope(1.2 * MB, 0.1 * MB)},
        {"written_bytes_per_day": 2.0 * MB},
    ],
    ids=lambda worse: next(iter(worse)),
)
def test_each_bound_of_the_quiet_run_fails_alone(worse: dict[str, object]) -> None:
    assert all(figure.passed for figure in [*quiet_figures(QUIET), *cost_figures(Cost(6.0, 0.9, 0.8))])
    assert [figure.passed for figure in quiet_figures(replace(QUIET, **worse))].count(False) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("faults", "failures"),
    [
        (FAULTS, 0),
        (replace(FAULTS, received={"MQTT": [*MADE, MADE[0]], "webhook": MADE}), 0),
        (replace(FAULTS, received={"MQTT": [*MADE[:2], ("end after a restart", 1), *MADE[2:]], "webhook": MADE}), 0),
        (replace(FAULTS, trials=[Trial("camera killed", 20, 19, 60.0)]), 1),
        (replace(FAULTS, received={"MQTT": MADE, "webhook": MADE[1:]}), 1),
        (replace(FAULTS, received={"MQTT": [*MADE[1:], MADE[0]], "webhook": MADE}), 1),
        (replace(FAULTS, altered=1), 1),
        (replace(FAULTS, rss_bytes=500 * MB), 1),
        (replace(FAULTS, made=MADE[1:], received={"MQTT": MADE[1:], "webhook": MADE[1:]}), 1),
    ],
)
def test_a_lost_event_or_a_missed_recovery_fails_and_a_repeated_event_does_not(faults: Faults, failures: int) -> None:
    assert [figure.passed for figure in fault_figures(faults)].count(False) == failures


def test_a_copy_with_other_content_is_counted() -> None:
    def body(kind: str) -> bytes:
        return json.dumps({"id": "a", "number": 1, "kind": kind}).encode()

    rig = SimpleNamespace(made=lambda: [("a", 1)], received=lambda: {"MQTT": [body("start")] * 2 + [body("end")]})
    faults = outcome(cast(FaultRig, rig), [], 0)
    assert (faults.altered, faults.repeated, faults.lost) == (1, 2, [])


def test_a_hung_receiver_never_ends_its_answer_and_a_later_one_is_served() -> None:
    receiver = WebhookReceiver()
    receiver.hung = True
    with closing(HTTPConnection(urlsplit(receiver.address).netloc, timeout=30)) as hung:
        hung.request("POST", "/", b"never answered")
        assert hung.sock.recv(1) == b"H"
        receiver.hung = False
        assert urllib.request.urlopen(receiver.address, b"{}", timeout=30).status == 204
        assert hung.sock.recv(1) == b"H"
        assert receiver.bodies == [b"{}"]
    receiver.close()


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_injected_faults_fail_file_and_thread_calls_while_they_are_switched_on(tmp_path: Path) -> None:
    code = """
import threading, pathlib, os
for call in (lambda: open("spool/item", "w"), lambda: open("other", "w"), threading.Thread(target=int).start):
    try:
        call()
        print("works")
    except (OSError, RuntimeError) as error:
        print(error)
"""
    (tmp_path / "spool").mkdir()
    environment = os.environ | {"LD_PRELOAD": str(compile_faults(tmp_path)), "SOAK_FAULTS": str(tmp_path)}

    def output() -> list[str]:
        command = [
            sys.executable,
            "-c",
            code.replace("spool", f"{tmp_path}/spool").replace("other", f"{tmp_path}/other"),
        ]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    assert output() == ["works"] * 3
    (tmp_path / "eio").touch()
    (tmp_path / "threads").touch()
    broken, other, thread = output()
    assert "Input/output error" in broken
    assert (other, thread) == ("works", "can't start new thread")


def test_a_bomb_is_a_jpeg_that_states_another_size() -> None:
    jpeg = encode_jpeg(np.zeros((48, 64, 3), np.uint8))
    assert len(restated(jpeg, 30_000)) == len(jpeg)
    assert (30_000).to_bytes(2, "big") * 2 in restated(jpeg, 30_000)


def test_throughput_is_read_from_the_summary_of_a_run_and_has_two_bounds() -> None:
    assert throughput(Summary(results=1200, passes=2400, fires=1, seconds=8.0).line("hd.mp4")) == pytest.approx(300)
    assert [figure.passed for figure in cost_figures(Cost(6.0, 0.95, 0.7))] == [True, False]
