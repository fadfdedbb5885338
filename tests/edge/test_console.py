"""Progress bars on stderr, and silence around libraries that write from C++."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.console import progress_bars
from edge.quiet import quiet


def test_each_step_has_a_bar_of_its_own_that_counts(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_step:
        reading, converting = on_step("reading", 3), on_step("converting to int8", 2)
        for done in (reading, converting, reading, reading):
            done()
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert any("reading" in line and "3/3" in line for line in lines)
    assert any("converting to int8" in line and "1/2" in line for line in lines)
    assert captured.out == "", "stdout is for results"


def test_steps_done_inside_quiet_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_step, quiet():
        on_step("calibrating", 1)()
    assert "1/1" in capfd.readouterr().err


def test_an_error_ends_the_bars_and_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), progress_bars() as on_step:
        on_step("converting", 1)
        raise ValueError("refused")
    assert "0/1" in capfd.readouterr().err


def test_quiet_logs_writes_to_descriptors_and_of_child_processes(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as log:
        os.write(1, b"converter: 3 ops\n")
        os.write(2, b"delegate: XNNPACK\n")
        subprocess.run([sys.executable, "-S", "-c", "print('child')"], check=True)
        assert log.read_text().splitlines() == ["converter: 3 ops", "delegate: XNNPACK", "child"]
    assert not log.exists()
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


@pytest.mark.slow
def test_quiet_neither_swallows_nor_leaks_pythons_own_buffer() -> None:
    # In its own process: pytest has replaced sys.stdout here.
    code = "from edge.quiet import quiet\nprint('before')\nwith quiet():\n    print('inside')\nprint('after')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nafter\n"


@pytest.mark.parametrize("keep", [False, True])
def test_quiet_keeps_the_log_of_an_error_only_on_request(capfd: pytest.CaptureFixture[str], keep: bool) -> None:
    with pytest.raises(KeyboardInterrupt), quiet(keep_on_error=keep) as log:
        os.write(2, b"the reason")
        raise KeyboardInterrupt
    os.write(1, b"back")
    assert capfd.readouterr() == ("back", "")
    assert log.exists() == keep
    if keep:
        assert log.read_text() == "the reason"
        log.unlink()
    with quiet(keep_on_error=keep) as log:
        os.write(1, b"no error")
    assert not log.exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_quiet_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        with quiet():
            pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
