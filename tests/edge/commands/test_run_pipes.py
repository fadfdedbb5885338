"""A run whose stdout or stderr is read slowly, not at all, or no longer."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.support.edge_process import ENVIRONMENT, RUN, WAIT_S, lines

pytestmark = pytest.mark.slow
FILLER = "every reader of this pipe is slow\n"
"""Fills stderr, so that the next line blocks."""


@contextmanager
def run_into_small_pipes(
    model: Path, *arguments: str | Path, full_stderr: bool = False
) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """Start a run whose stdout and stderr hold a page each; yield it with the reading ends."""
    ends = [os.pipe(), os.pipe()]
    for _, write in ends:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    (out, out_write), (err, err_write) = ends
    if full_stderr:
        os.set_blocking(err_write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(err_write, FILLER.encode())
        os.set_blocking(err_write, True)
    command = [*RUN, "--model", str(model), *map(str, arguments)]
    with (
        os.fdopen(out, encoding="utf-8") as stdout,
        os.fdopen(err, encoding="utf-8") as stderr,
        subprocess.Popen(command, env=ENVIRONMENT, stdout=out_write, stderr=err_write, text=True) as process,
    ):
        os.close(out_write)
        os.close(err_write)
        too_long = threading.Timer(WAIT_S, process.kill)
        too_long.start()
        try:
            yield process, stdout, stderr
        finally:
            too_long.cancel()
            process.kill()


def wait_until_full(pipe: IO[str]) -> None:
    """Wait until the next lines block."""
    waiting, deadline_s = 0, time.monotonic() + WAIT_S
    while waiting < 3500:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
        waiting = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    time.sleep(0.5)


def test_a_hanging_reader_of_stdout_does_not_delay_the_run(models: dict[str, Path]) -> None:
    arguments = ("--source", "test-pattern", "--log", "json", "--max-frames", "60")
    with run_into_small_pipes(models["int8"], *arguments) as (process, stdout, stderr):
        assert process.wait(WAIT_S) == 0
        assert "test-pattern: 60 frames in" in stderr.read()
        numbers = [line["frame"] for line in lines(stdout.read(), "result")]
    assert 5 < len(numbers) < 60
    assert numbers == sorted(numbers)


def test_a_recording_waits_for_its_reader_and_loses_nothing(run_folder: Path) -> None:
    arguments = ("--source", run_folder / "noise.avi", "--replay", "every-frame", "--log", "json")
    with run_into_small_pipes(run_folder / "tiny.tflite", *arguments) as (process, stdout, stderr):
        wait_until_full(stdout)
        out = stdout.read()
        assert process.wait(WAIT_S) == 0
        assert "Traceback" not in stderr.read()
    assert [line["frame"] for line in lines(out, "result")] == list(range(1, 31))


def test_a_hanging_reader_of_stderr_does_not_delay_the_run(models: dict[str, Path]) -> None:
    arguments = (
        "--source",
        "test-pattern",
        "--replay",
        "every-frame",
        "--max-frames",
        "30",
        "--log",
        "json",
        "--verbose",
    )
    with run_into_small_pipes(models["int8"], *arguments, full_stderr=True) as (process, stdout, stderr):
        out = stdout.read()
        assert process.wait(WAIT_S) == 0
        assert set(stderr.read()[: 2 * len(FILLER)].splitlines()) == {FILLER.strip()}
    assert len(lines(out, "result")) == 30


@pytest.mark.parametrize("replay", ["realtime", "every-frame"])
def test_sigterm_ends_a_run_whose_reader_hangs(models: dict[str, Path], replay: str) -> None:
    arguments = ("--source", "test-pattern", "--log", "json", "--replay", replay)
    with run_into_small_pipes(models["int8"], *arguments) as (process, stdout, stderr):
        wait_until_full(stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        assert stderr.read().splitlines()[-1].startswith("test-pattern: ")


def log_without_a_reader(model: Path, *arguments: str | Path) -> str:
    """Return what a run logs whose reader of stdout goes away after the first line."""
    with run_into_small_pipes(model, "--source", "test-pattern", *arguments) as (process, stdout, stderr):
        stdout.readline()
        stdout.close()
        assert process.wait(WAIT_S) == 0
        log = stderr.read()
    assert log.count("stdout") == 1
    assert "Traceback" not in log
    assert "Exception" not in log
    return log


@pytest.mark.parametrize("replay", ["realtime", "every-frame"])
def test_a_run_for_stdout_alone_ends_when_its_reader_is_gone(models: dict[str, Path], replay: str) -> None:
    log = log_without_a_reader(models["int8"], "--log", "json", "--replay", replay)
    assert log.splitlines()[-1].startswith("test-pattern: ")


def test_a_run_that_follows_model_updates_ends_too_when_its_reader_is_gone(
    models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "root.json").touch()
    config = tmp_path / "fireseg.toml"
    config.write_text('[update]\nurl = "http://127.0.0.1:9"\nroot = "root.json"\nmodel = "base"\nfolder = "models"\n')
    log_without_a_reader(models["int8"], "--log", "json", "--config", config)


@pytest.mark.parametrize("kind", ["json", "text"])
def test_a_run_with_other_sinks_continues_without_a_reader_of_stdout(
    models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    arguments = ("--replay", "every-frame", "--max-frames", "70", "--log", kind, "--clips", tmp_path / "events")
    log = log_without_a_reader(models["int8"], *arguments)
    assert "70 frames" in log or kind == "text"
