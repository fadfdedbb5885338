"""What is written from C++ stays away from the terminal, and comes back afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.console import quiet, terminal


def test_writes_to_the_descriptors_themselves_go_into_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as log:
        os.write(1, b"converter: 3 ops\n")
        os.write(2, b"delegate: XNNPACK\n")
        assert log.read_text().splitlines() == ["converter: 3 ops", "delegate: XNNPACK"]
    assert capfd.readouterr() == ("", "")


def test_programs_started_inside_are_quiet_too(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    assert capfd.readouterr() == ("", "")


def test_both_streams_speak_again_afterwards_and_each_is_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(1, b"lost")
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_pythons_own_buffer_is_neither_swallowed_nor_let_through() -> None:
    # In a program of its own: pytest has replaced sys.stdout here.
    code = "from edge.console import quiet\nprint('before')\nwith quiet():\n    print('inside')\nprint('after')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nafter\n"


def test_streams_come_back_after_an_error_and_the_log_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), quiet() as log:
        raise ValueError("refused")
    os.write(1, b"back")
    assert capfd.readouterr().out == "back"
    assert not log.exists()


def test_the_log_of_an_error_is_kept_where_asked(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), quiet(keep_on_error=True) as log:
        os.write(2, b"the reason")
        raise KeyboardInterrupt
    assert log.read_text() == "the reason"
    log.unlink()
    assert capfd.readouterr() == ("", "")


def test_a_block_that_ends_well_leaves_no_log() -> None:
    with quiet(keep_on_error=True) as log:
        os.write(1, b"chatter")
    assert not log.exists()


def test_one_inside_another_gives_back_to_the_outer_one(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as outer:
        with quiet():
            os.write(1, b"inner")
        os.write(1, b"outer")
        assert outer.read_text() == "outer"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        with quiet():
            pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_terminal_goes_on_speaking_inside(capfd: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    with quiet():
        os.write(2, b"chatter")
        console.print("calibrating")
    assert capfd.readouterr() == ("", "calibrating\n")
