"""A run works in the sandbox of its unit: no memory that is writable and executable, no forbidden system call."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.edge_process import ENVIRONMENT, RUN, WAIT_S

PR_SET_MDWE = 65


@pytest.mark.slow
def test_a_run_needs_no_memory_that_is_both_writable_and_executable(shipped_model: Path) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot refuse such memory: Linux 6.3 can")
    refuse = f"import ctypes, os, sys; assert not ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0)"
    arguments = [*RUN, "--model", str(shipped_model), "--source", "test-pattern", "--max-frames", "5"]
    command = [sys.executable, "-c", f"{refuse}; os.execv(sys.argv[1], sys.argv[1:])", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S)
    assert done.stdout.splitlines()[-1].startswith("test-pattern: 5 frames")


@pytest.mark.slow
def test_a_run_makes_no_system_call_that_the_unit_forbids(shipped_model: Path, tmp_path: Path) -> None:
    if not (shutil.which("strace") and shutil.which("systemd-analyze")):
        pytest.skip("strace or systemd-analyze is not installed")
    arguments = [*RUN, "--model", str(shipped_model), "--source", "test-pattern", "--max-frames", "5"]
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), *arguments, "--clips", str(tmp_path / "events")]
    environment = ENVIRONMENT | {"STATE_DIRECTORY": str(tmp_path / "state")}  # as a service, which proves its model
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S)
    if "ptrace" in done.stderr:
        pytest.skip("strace is not allowed here")
    assert done.returncode == 0, done.stderr
    calls = set(re.findall(r"^\d+ +([a-z]\w*)\(", trace.read_text(errors="replace"), re.MULTILINE))
    sets = system_call_sets()
    allowed = sets["@default"] | sets["@system-service"] - sets["@privileged"] - sets["@resources"]
    # Hints: for the placement of memory by OpenBLAS, and the priority of the process that proves a model.
    assert calls - allowed <= {"mbind", "setpriority"}
    assert {"futex", "openat", "execve"} <= calls


def system_call_sets() -> dict[str, set[str]]:
    """Return systemd's sets of system calls, with the sets inside them resolved."""
    command = ["systemd-analyze", "--no-pager", "syscall-filter"]
    members: dict[str, list[str]] = {}
    for block in subprocess.run(command, capture_output=True, text=True).stdout.split("\n@"):
        name, *lines = block.splitlines()
        members["@" + name.lstrip("@")] = [line.strip() for line in lines if line.strip() and "#" not in line]

    def resolve(name: str) -> set[str]:
        return set().union(*(resolve(member) if member.startswith("@") else {member} for member in members[name]))

    return {name: resolve(name) for name in members}
