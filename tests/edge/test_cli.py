"""`fireseg-edge` as a whole: help, usage errors, the entry point, and how a process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.support.edge_process import ENVIRONMENT, ROOT, RUN, WAIT_S
from tests.support.run_cli import fireseg_edge

COMMANDS = ("run", "segment", "bench", "doctor", "install-service")
FIRESEG_EDGE = Path(sysconfig.get_path("scripts")) / "fireseg-edge"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_an_example_command_line(tmp_path: Path, name: str) -> None:
    done = fireseg_edge(name, "--help", cwd=tmp_path)
    assert done.code == 0
    assert f"fireseg-edge {name} " in done.out.partition("Example: ")[2]


@pytest.mark.parametrize("arguments", [(), ("config",)])
def test_the_help_of_a_group_shows_an_example(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "Example: fireseg-edge " in fireseg_edge(*arguments, "--help", cwd=tmp_path).out


@pytest.mark.parametrize("room", ["train", "export"])
def test_a_command_without_the_training_packages_says_how_to_install_them(room: str) -> None:
    code = f"import sys; sys.modules['PIL'] = sys.modules['tensorflow'] = None; from {room}.cli import run; run()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    start = f"error: fireseg-{room} needs the training packages (PIL is missing): pip install 'fireseg-edge[train]'"
    assert done.stderr.startswith(start)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_the_help_warns_that_it_is_not_a_life_safety_device(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = fireseg_edge(*arguments, "--help", cwd=tmp_path)
    assert done.code == 0
    assert "Not a life-safety device" in done.out
    assert arguments or all(name in done.out for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["segment"], ["bench", "model.tflite"], ["bench", "--fast"], ["sgement"]])
def test_a_wrong_command_line_shows_the_usage_and_ends_in_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    done = fireseg_edge(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert "Usage: fireseg-edge" in done.err


def loaded(pid: int) -> set[str]:
    """Return which of the libraries that `bench` loads last a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in ("ai_edge_litert", "numpy/random/_generator") if name in maps}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc to know when the model is loaded")
def test_ctrl_c_ends_the_installed_command_with_exit_code_130(models: dict[str, Path], tmp_path: Path) -> None:
    assert FIRESEG_EDGE.is_file(), "fireseg-edge is not installed beside this Python: run `pip install -e .[dev]`"
    arguments = [str(FIRESEG_EDGE), "bench", "--model", str(models["int8"]), "--seconds", str(WAIT_S)]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        try:
            deadline_s = time.monotonic() + WAIT_S / 2
            # While it is imported, NumPy's generator discards a KeyboardInterrupt.
            while not {"ai_edge_litert", "numpy/random/_generator"} <= loaded(bench.pid):
                assert bench.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            time.sleep(0.5)
            bench.send_signal(signal.SIGINT)
            try:
                out, err = bench.communicate(timeout=WAIT_S / 4)
            except subprocess.TimeoutExpired:  # the import was not over: a person presses it again
                bench.send_signal(signal.SIGINT)
                out, err = bench.communicate(timeout=WAIT_S / 2)
        finally:
            bench.kill()
    assert bench.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1


LEAVE = """
import atexit, sys, threading, time
import edge.cli

atexit.register(print, "shut down")
if "hangs" in sys.argv:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
edge.cli.run_app = lambda _: sys.exit(2)
print("output", end="")
edge.cli.run()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("thread", "output"), [("hangs", "output"), ("none", "outputshut down\n")])
def test_the_process_ends_at_once_if_a_thread_hangs(thread: str, output: str) -> None:
    command = [sys.executable, "-c", LEAVE, thread]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S)
    assert (done.returncode, done.stdout) == (2, output), done.stderr


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "fireseg.toml"
    path.write_text('[[zones]]\nname = "Küche"\npolygon = [[0, 0], [1, 0], [1, 1]]\n', encoding="utf-8")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "command"),
    [("ascii", ["config", "check"]), ("latin-1", ["config", "check"]), ("ascii", ["bench", "--seconds", "0"])],
)
def test_letters_that_the_terminal_lacks_are_replaced(config: str, encoding: str, command: list[str]) -> None:
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
    arguments = [*command, config] if command[0] == "config" else command
    done = subprocess.run([*RUN[:-1], *arguments], env=environment, capture_output=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    if command[0] == "config":
        assert ("K?che" if encoding == "ascii" else "Küche").encode(encoding) in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["config", "check"], ["doctor", "--source", "test-pattern"]])
def test_output_that_cannot_be_written_is_one_line(config: str, command: list[str]) -> None:
    arguments = [*command, config] if command[0] == "config" else command
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*RUN[:-1], *arguments], env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=WAIT_S
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output could not be written (No space left on device): free some space")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--version"], ["doctor", "--source", "test-pattern"]])
def test_a_reader_that_goes_away_ends_a_command_without_a_word(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*RUN[:-1], *command], env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=WAIT_S
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
