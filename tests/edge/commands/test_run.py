"""`fireseg-edge run` as a person and a service manager use it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pytest

from edge.camera.pattern import FLAMES_FROM_S

WAIT_S = 60
RUN = (sys.executable, "-c", "from edge.cli import run; run()", "run")


def environment() -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[3])}


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *map(str, arguments)], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=WAIT_S
    )


def lines(stdout: str, kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, stdout.splitlines()) if line["type"] == kind]


@contextmanager
def running(*arguments: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*RUN, *map(str, arguments), "--log", "json"],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def folder(models: dict[str, Path], tmp_path: Path) -> Path:
    """Where a tiny model, a short video and a folder of pictures lie."""
    shutil.copy(models["int8"], tmp_path / "tiny.tflite")
    writer = cv2.VideoWriter(str(tmp_path / "noise.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        picture = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (64, 48))
        writer.write(picture)
        if number < 5:
            cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), picture)
    writer.release()
    return tmp_path


def test_a_video_is_watched_whole_as_json_with_its_own_time_and_a_summary(folder: Path) -> None:
    done = run(
        "--model", "tiny.tflite", "--source", "noise.avi", "--replay", "every-frame", "--log", "json", cwd=folder
    )
    assert done.returncode == 0
    results = lines(done.stdout, "result")
    assert [line["frame"] for line in results] == list(range(1, 31))
    assert [line["t_s"] for line in results] == pytest.approx([number / 20 for number in range(30)], abs=0.002)
    assert all(line["age_ms"] >= line["inference_ms"] >= 0 for line in results)
    assert lines(done.stdout, "event")[0]["kind"] == "start"  # the tiny model calls most of the noise fire
    summary = done.stderr.splitlines()[-1]
    assert summary.startswith("noise.avi: 30 frames in ")
    assert "0 dropped" in summary
    assert "1 fire" in summary


def test_a_run_ends_after_max_frames_and_writes_what_it_saw(folder: Path) -> None:
    arguments = ("--model", "tiny.tflite", "--source", "pictures", "--replay", "every-frame")
    done = run(*arguments, "--max-frames", "3", "--record", "seen.mp4", "--clips", "events", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("pictures: 3 frames in ")
    assert cv2.VideoCapture(str(folder / "seen.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_in_real_time_a_video_takes_its_time_and_max_fps_drops_the_rest(folder: Path) -> None:
    arguments = ("--model", "tiny.tflite", "--source", "noise.avi", "--max-fps", "5", "--log", "json")
    done = run(*arguments, cwd=folder)
    assert done.returncode == 0
    results = lines(done.stdout, "result")
    assert 3 <= len(results) <= 10
    assert results[-1]["t_s"] == pytest.approx(29 / 20, abs=0.5)


def test_the_test_pattern_is_a_fire_for_the_shipped_model(shipped_model: Path, tmp_path: Path) -> None:
    arguments = ("--model", shipped_model, "--source", "test-pattern", "--replay", "every-frame")
    done = run(*arguments, "--max-frames", "70", "--log", "json", "--clips", "events", cwd=tmp_path)
    assert done.returncode == 0
    (start,) = lines(done.stdout, "event")
    assert start["kind"] == "start"
    assert FLAMES_FROM_S < start["t_s"] < FLAMES_FROM_S + 1.5
    assert (tmp_path / "events" / f"{start['id']}-start-overlay.jpg").is_file()
    assert (tmp_path / "events" / f"{start['id']}.mp4").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_cleanly_in_under_two_seconds(folder: Path, number: int) -> None:
    with running("--model", "tiny.tflite", "--source", "test-pattern", cwd=folder) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        began_s = time.monotonic()
        out, err = process.communicate(timeout=WAIT_S)
        assert time.monotonic() - began_s < 2
    assert process.returncode == 0
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("test-pattern: ")
    assert all(json.loads(line) for line in out.splitlines())


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"{text!r} never came")


def test_sighup_takes_a_good_configuration_and_model_and_refuses_bad_ones(folder: Path) -> None:
    config = folder / "fireseg.toml"
    config.write_text('[model]\npath = "tiny.tflite"\n')
    with running("--config", config, "--source", "test-pattern", cwd=folder) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["zones"].keys() == {"frame"}

        config.write_text("[model]\npth = 1\n")
        process.send_signal(signal.SIGHUP)
        refused = wait_for_line(process, "refused")
        assert "has no key pth: did you mean path?" in refused
        assert "the old one goes on" in refused
        config.write_text('[model]\npath = "gone.tflite"\n')
        process.send_signal(signal.SIGHUP)
        assert "gone.tflite could not be read" in wait_for_line(process, "refused")

        zone = '[[zones]]\nname = "stove"\npolygon = [[0, 0], [1, 0], [1, 1]]\n'
        config.write_text('[model]\npath = "tiny.tflite"\n' + zone)
        process.send_signal(signal.SIGHUP)
        wait_for_line(process, "read anew")
        zones = [json.loads(process.stdout.readline()) for _ in range(200)][-1]
        assert zones.get("zones", {"stove": None}).keys() == {"stove"}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 0


MISTAKES = {
    "no such model": (["--model", "gone.tflite"], "gone.tflite could not be read"),
    "no such source": (["--source", "gone.mp4"], "source 'gone.mp4' is neither a file nor a folder"),
    "no such configuration": (["--config", "gone.toml"], "write one with `fireseg-edge config init`"),
    "no video at all": (["--source", "tiny.tflite"], "tiny.tflite is not a video that can be read"),
    "a recording of no kind": (["--record", "seen.txt"], "expected .mp4, .avi or .mkv"),
    "a recording nowhere": (["--record", "tiny.tflite/seen.mp4"], "could not be written"),
    "a camera that is not there": (["--config", "impatient.toml"], "gave up after 2 failures in a row"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_and_shows_no_password(folder: Path, mistake: str) -> None:
    given, told = MISTAKES[mistake]
    (folder / "impatient.toml").write_text(
        '[source]\naddress = "http://me:hunter2@127.0.0.1:9/live?key=hunter2"\nreconnect_limit = 1\n'
    )
    basics = [] if "--model" in given else ["--model", "tiny.tflite"]
    basics += [] if {"--source", "--config"} & set(given) else ["--source", "noise.avi"]
    done = run(*basics, *given, "--log", "json", cwd=folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert told in line
    assert "hunter2" not in done.stderr + done.stdout


def test_the_help_says_that_no_life_may_depend_on_it(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Not a life-safety device" in done.stdout
    assert "Example: fireseg-edge run " in done.stdout


SLOW = "every reader of this pipe is slow\n"
"""What fills stderr, so that the next line hangs."""


@contextmanager
def run_into_small_pipes(
    *arguments: str | Path, cwd: Path, full_stderr: bool = False
) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A run with its stdout and stderr, each of which holds a page and is not read before somebody does."""
    ends = [os.pipe(), os.pipe()]
    for _, write in ends:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    (out, out_write), (err, err_write) = ends
    if full_stderr:
        os.set_blocking(err_write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(err_write, SLOW.encode())
        os.set_blocking(err_write, True)
    with (
        os.fdopen(out, encoding="utf-8") as stdout,
        os.fdopen(err, encoding="utf-8") as stderr,
        subprocess.Popen(
            [*RUN, "--model", "tiny.tflite", *map(str, arguments)],
            cwd=cwd,
            env=environment(),
            stdout=out_write,
            stderr=err_write,
            text=True,
        ) as process,
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
    """Until a pipe holds so much that the next lines hang."""
    waiting, gives_up_s = 0, time.monotonic() + WAIT_S
    while waiting < 3500:
        assert time.monotonic() < gives_up_s
        time.sleep(0.02)
        waiting = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    time.sleep(1)


def test_a_reader_of_stdout_that_hangs_does_not_hold_up_the_run(folder: Path) -> None:
    arguments = ("--source", "test-pattern", "--log", "json", "--max-frames", "60")
    with run_into_small_pipes(*arguments, cwd=folder) as (process, stdout, stderr):
        assert process.wait(WAIT_S) == 0
        assert "test-pattern: 60 frames in" in stderr.read()
        numbers = [line["frame"] for line in map(json.loads, stdout) if line["type"] == "result"]
    assert 5 < len(numbers) < 60
    assert numbers == sorted(numbers)


def test_a_recording_waits_for_its_reader_and_loses_nothing(folder: Path) -> None:
    arguments = ("--source", "noise.avi", "--replay", "every-frame", "--log", "json")
    with run_into_small_pipes(*arguments, cwd=folder) as (process, stdout, stderr):
        wait_until_full(stdout)
        out = stdout.read()
        assert process.wait(WAIT_S) == 0
        assert "Traceback" not in stderr.read()
    assert [line["frame"] for line in lines(out, "result")] == list(range(1, 31))
    assert lines(out, "event")


@pytest.mark.parametrize("replay", ["realtime", "every-frame"])
def test_sigterm_ends_a_run_whose_reader_hangs(folder: Path, replay: str) -> None:
    arguments = ("--source", "test-pattern", "--log", "json", "--replay", replay)
    with run_into_small_pipes(*arguments, cwd=folder) as (process, stdout, stderr):
        wait_until_full(stdout)
        process.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        assert process.wait(WAIT_S) == 0
        assert time.monotonic() - began_s < 2
        assert stderr.read().splitlines()[-1].startswith("test-pattern: ")


def test_a_reader_of_stderr_that_hangs_does_not_hold_up_the_run(folder: Path) -> None:
    arguments = ("--source", "noise.avi", "--replay", "every-frame", "--log", "json", "--verbose")
    with run_into_small_pipes(*arguments, cwd=folder, full_stderr=True) as (process, stdout, stderr):
        out = stdout.read()
        assert process.wait(WAIT_S) == 0
        assert set(stderr.read()[: 2 * len(SLOW)].splitlines()) == {SLOW.strip()}
    assert len(lines(out, "result")) == 30


@pytest.mark.parametrize("replay", ["realtime", "every-frame"])
def test_a_run_for_stdout_alone_ends_when_nobody_reads_that(folder: Path, replay: str) -> None:
    arguments = ("--source", "test-pattern", "--log", "json", "--replay", replay)
    with run_into_small_pipes(*arguments, cwd=folder) as (process, stdout, stderr):
        stdout.readline()
        stdout.close()
        assert process.wait(WAIT_S) == 0
        told = stderr.read()
    assert told.count("nobody reads stdout any more") == 1
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("test-pattern: ")


@pytest.mark.parametrize("kind", ["json", "text"])
def test_a_run_for_others_goes_on_when_nobody_reads_stdout(folder: Path, kind: str) -> None:
    pattern = ("--source", "test-pattern", "--replay", "every-frame", "--max-frames", "70")
    arguments = (*pattern, "--log", kind, "--clips", "events")
    with run_into_small_pipes(*arguments, cwd=folder) as (process, stdout, stderr):
        stdout.readline()
        stdout.close()
        assert process.wait(WAIT_S) == 0
        told = stderr.read()
    assert told.count("nobody reads stdout any more; the run goes on without it") == 1
    assert "Traceback" not in told
    assert "Exception" not in told
    assert "70 frames" in told or kind == "text"
