"""The fuzz catches planted faults, keeps the inputs that caused them, and makes the same inputs again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner

from benchmarks.fuzz import __main__ as fuzz
from benchmarks.fuzz import inputs, reload, sandbox
from benchmarks.fuzz.mutate import resize_header
from benchmarks.fuzz.sandbox import Ending, run_trial
from benchmarks.fuzz.targets import KINDS, Kind
from benchmarks.models import MODELS
from benchmarks.soak import process
from benchmarks.soak.process import start_run
from edge.errors import UserError, run_app
from edge.images import Frame, encode_jpeg

pytestmark = pytest.mark.bench

MB = 1 << 20
RUN = """
import json, os, signal, sys, time
def reload(*_):
    what = sys.argv[-3]
    if what == "dies": os.abort()
    if what == "raises": raise ValueError("planted")
    print("configuration", "reloaded" if what == "accepts" else "rejected", file=sys.stderr, flush=True)
    if what == "stops": time.sleep(60)
signal.signal(signal.SIGHUP, reload)
while True:
    print(json.dumps({"type": "result", "age_ms": 1.0, "inference_ms": 1.0}), flush=True)
    time.sleep(0.01)
"""


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    def raise_error() -> None:
        raise UserError("the input is damaged", "copy it again")

    run_app(raise_error)


@pytest.mark.parametrize(
    ("target", "ending"),
    [
        (lambda: None, Ending.ACCEPTED),
        (refuse, Ending.REFUSED),
        (crash, Ending.CRASH),
        (lambda: encode_jpeg(cast(Frame, None)), Ending.TRACEBACK),
        (lambda: time.sleep(60), Ending.HANG),
        (lambda: b"x" * (100 * MB), Ending.MEMORY),
        (lambda: sys.exit(1), Ending.OTHER),
        (lambda: sys.exit(2), Ending.OTHER),
    ],
    ids=[*Ending, "silent refusal"],
)
def test_each_planted_fault_is_caught(
    target: Callable[[], object], ending: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_LIMIT_BYTES", 50 * MB)
    trial = run_trial(target, tmp_path, time_limit_s=0.3 if ending is Ending.HANG else 30)
    assert trial.ending is ending
    assert trial.failed == (ending not in ("accepted", "refused"))


def test_a_symptom_names_the_error_and_the_function(tmp_path: Path) -> None:
    trial = run_trial(lambda: encode_jpeg(cast(Frame, None)), tmp_path)
    assert trial.symptom == "traceback cv2.error in edge/images.py: encode_jpeg"
    assert run_trial(crash, tmp_path).symptom.startswith("crash SIGSEGV")


def test_an_allocation_above_the_hard_limit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "HARD_LIMIT_BYTES", 50 * MB)
    assert "MemoryError" in run_trial(lambda: bytes(200 * MB), tmp_path).symptom


@pytest.mark.parametrize(
    ("reaction", "ending"),
    [("accepts", Ending.ACCEPTED), ("refuses", Ending.REFUSED), ("dies", Ending.CRASH), ("raises", Ending.TRACEBACK),
     ("stops", Ending.HANG)],
)  # fmt: skip
def test_a_reload_that_ends_or_stops_the_run_is_caught(
    reaction: str, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "EDGE", (sys.executable, "-c", RUN))
    monkeypatch.setattr(reload, "TIME_LIMIT_S", 0.3 if ending is Ending.HANG else 30)
    with start_run(reaction) as run:
        run.wait_for_results(1, 30)
        assert reload._reload(run, 0).ending is ending


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_inputs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "BOMB_MB", 1)
    make = KINDS[kind].make
    first = [make(Random(f"{seed}")) for seed in range(1, 6)]
    assert first == [make(Random(f"{seed}")) for seed in range(1, 6)]
    assert len(set(first)) > 1


def test_a_resized_picture_keeps_a_valid_checksum() -> None:
    png = next(data for data in inputs._pictures() if data.startswith(b"\x89PNG"))
    resized = resize_header(png, Random(1))
    assert resized[16:24] != png[16:24]
    assert int.from_bytes(resized[29:33], "big") == zlib.crc32(resized[12:29])


def test_inputs_that_fail_are_kept_with_the_command_that_repeats_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Kind(lambda rng: rng.randbytes(8), ".bin", lambda path: crash() if path.read_bytes()[0] % 2 else None)
    monkeypatch.setitem(KINDS, "models", planted)
    monkeypatch.setattr(fuzz, "warm_up", lambda: None)
    monkeypatch.setattr(fuzz, "time", SimpleNamespace(monotonic=itertools.count().__next__))  # a second an input
    arguments = ["--only", "models", "--seed", "7", "--minutes", "0.05", "--out", str(tmp_path), "--json"]
    assert CliRunner().invoke(fuzz.app, arguments).exit_code == 1
    report = json.loads((tmp_path / "fuzz.json").read_text())
    (finding,) = report["findings"]
    assert finding["times"] == report["kinds"][0]["crash"] > 0
    assert report["kinds"][0]["tried"] == finding["times"] + report["kinds"][0]["accepted"] == 2
    number = int(finding["repeat"].split("--number ")[1].rstrip('"'))
    kept = (tmp_path / f"models-7-{number}.bin").read_bytes()
    assert kept == planted.make(Random(f"7/models/{number}"))
    assert CliRunner().invoke(fuzz.app, [*arguments, "--number", str(number)]).exit_code == 1


def test_an_unknown_kind_is_refused() -> None:
    error = CliRunner().invoke(fuzz.app, ["--only", "videos"]).exception
    assert isinstance(error, UserError)
    assert "models" in error.remedy


@pytest.mark.slow
def test_a_valid_input_of_each_kind_is_accepted(tmp_path: Path) -> None:
    valid = {
        "models": MODELS / "fireseg-small-int8.tflite",
        "configurations": tmp_path / "valid.toml",
        "pictures": tmp_path / "valid.jpg",
        "outbox": tmp_path / "valid.json",
        "streams": tmp_path / "valid.mjpeg",
    }
    valid["configurations"].write_text("[model]\nthreads = 1\n")
    valid["pictures"].write_bytes(inputs._pictures()[0])
    valid["outbox"].write_text(json.dumps(inputs.EVENT))
    valid["streams"].write_bytes(inputs.HEADERS + 400 * (b"--frame\r\n\r\n" + inputs._pictures()[0] + b"\r\n"))
    for kind, path in valid.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "valid.png").write_bytes(inputs._pictures()[2])
        trial = run_trial(lambda kind=kind, path=path: KINDS[kind].run(path), folder)  # type: ignore[misc]
        assert trial.ending is Ending.ACCEPTED, (kind, trial.stderr)
