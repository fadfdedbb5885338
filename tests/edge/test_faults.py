"""What happens around a run: it is told to end, its model is spoilt, its clock steps, its disk fills up."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.soak.faults import fill, small_disk
from benchmarks.soak.process import COMMAND, ROOT, ProcessUnderTest, start_run
from benchmarks.soak.rig import camera

WAIT_S = 60.0
AT_ONCE, ANY_TIME, IN_THE_LOOP = 5, 10, 5
"""How many runs are ended in their first 100 ms, at any time after, and for certain when results have come."""
ENDS_WITHIN_S = 2.0
STARTED_WITHIN_S = 2.5
FIRE_FRAMES = 290
"""Of the test pattern: with them its fire is over."""


@pytest.fixture(scope="module")
def burning_camera() -> Iterator[str]:
    """The address of a camera whose room burns now and then."""
    with camera(fps=15, fire=True) as (address, _):
        yield address


def moments() -> list[tuple[bool, float]]:
    """When to end each run: whether counted from its first result, else from its start; and so many seconds later."""
    draw = random.Random(0)
    return [
        *((False, draw.uniform(0, 0.1)) for _ in range(AT_ONCE)),
        *((False, draw.uniform(0.1, STARTED_WITHIN_S)) for _ in range(ANY_TIME)),
        *((True, draw.uniform(0, 0.5)) for _ in range(IN_THE_LOOP)),
    ]


def test_sigterm_at_any_moment_ends_a_run_in_two_seconds_without_a_traceback(
    burning_camera: str, shipped_model: Path, tmp_path: Path
) -> None:
    arguments = ["--source", burning_camera, "--model", str(shipped_model), "--clips", str(tmp_path / "events")]

    def end_at(moment: tuple[bool, float]) -> tuple[int, float, str, str]:
        in_the_loop, moment_s = moment
        with subprocess.Popen(
            [*COMMAND, *arguments, "--log", "json"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            first = process.stdout.readline() if in_the_loop else ""
            assert first or not in_the_loop, process.communicate(timeout=WAIT_S)
            time.sleep(moment_s)
            process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            out, said = process.communicate(timeout=WAIT_S)
            return process.returncode, time.monotonic() - began_s, first + out, said

    with ThreadPoolExecutor(2) as pool:
        ends = list(zip(moments(), pool.map(end_at, moments()), strict=True))
    for (_, moment_s), (code, took_s, out, said) in ends:
        # Before the loop begins nothing is there to be put in order, and the signal does what it does by itself.
        expected = {0} if out else {0, -signal.SIGTERM}
        assert code in expected, f"exit code {code} after {moment_s:.3f} s: {said}"
        assert took_s < ENDS_WITHIN_S, f"took {took_s:.1f} s after {moment_s:.3f} s"
        assert "Traceback" not in said
        assert "FATAL" not in said
    assert {code for _, (code, *_) in ends} == {0, -signal.SIGTERM}, "some moments fall before the loop, some in it"


def test_a_model_that_is_spoilt_under_a_run_is_refused_in_one_line_and_the_old_one_goes_on(
    shipped_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.tflite"
    shutil.copy(shipped_model, model)
    good = model.read_bytes()
    by_rename = tmp_path / "new.tflite"
    with start_run("--model", model, "--source", "test-pattern") as watched:
        watched.wait_for_results(2, WAIT_S)
        wait_for_words(watched, "streaming")
        # A file that is mapped and then cut short would end the run with SIGBUS.
        assert str(model) not in Path(f"/proc/{watched.process.pid}/maps").read_text()
        for spoil in (
            lambda: os.truncate(model, len(good) // 2),
            lambda: model.write_bytes(b"rubbish" * 1000),
            lambda: by_rename.write_bytes(good[: len(good) // 2]) and by_rename.rename(model),
            lambda: os.truncate(model, 0),
        ):
            said = len(watched.log_lines)
            spoil()
            watched.wait_for_results(3, WAIT_S)
            watched.process.send_signal(signal.SIGHUP)
            wait_for_words(watched, "refused, the old one goes on", since=said)
            watched.wait_for_results(3, WAIT_S)
            assert len(watched.log_lines) == said + 1, watched.log_lines[said:]
        model.write_bytes(good)
        watched.process.send_signal(signal.SIGHUP)
        wait_for_words(watched, "was read anew")
        watched.wait_for_results(3, WAIT_S)
        watched.terminate()
    assert watched.process.returncode == 0


def wait_for_words(watched: ProcessUnderTest, words: str, *, since: int = 0) -> None:
    watched.wait_for(lambda: any(words in line for line in watched.log_lines[since:]), words, WAIT_S)


def test_only_timestamps_read_the_wall_clock_so_that_stepping_it_moves_no_alarm() -> None:
    wall_clock = re.compile(r"\btime\.time\b|\bdatetime\.(now|utcnow|today)\b")
    readers = {path.name for path in (ROOT / "edge").rglob("*.py") if wall_clock.search(path.read_text())}
    assert readers == {"events.py", "clips.py", "doctor.py"}


def test_a_full_disk_costs_the_pictures_and_neither_the_alarm_nor_its_events(
    shipped_model: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if not disk.is_mount():
            pytest.skip("only root can mount a small disk")
        fill(disk / "ballast")
        arguments = ("--model", shipped_model, "--source", "test-pattern", "--clips", disk / "events")
        with start_run(*arguments, "--replay", "every-frame", "--max-frames", str(FIRE_FRAMES)) as watched:
            watched.process.wait(WAIT_S)
    assert [event["kind"] for event in watched.events] == ["start", "peak", "end"]
    assert watched.results == FIRE_FRAMES
    assert watched.process.returncode == 0
    assert any("could not be written" in line for line in watched.log_lines)
    assert not any("Traceback" in line for line in watched.log_lines)


LEAVE = """
import atexit, sys, threading, time
import edge.cli

atexit.register(print, "shut down")
if "hangs" in sys.argv:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
edge.cli.run_app = lambda _: sys.exit(2)
print("said", end="")
edge.cli.run()
"""


@pytest.mark.parametrize(("thread", "said"), [("hangs", "said"), ("none", "saidshut down\n")])
def test_python_is_not_shut_down_under_the_feet_of_a_thread_that_hangs(thread: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, thread], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S
    )
    assert (done.returncode, done.stdout) == (2, said), done.stderr
