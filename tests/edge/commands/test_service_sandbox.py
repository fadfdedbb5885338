"""A run works in the sandbox of its unit: no memory that is writable and executable, no forbidden system call."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.commands.service import config_folder
from tests.support.edge_process import ENVIRONMENT, RUN, WAIT_S

PR_SET_MDWE = 65
SAVE = """
import sys
from pathlib import Path
from edge.control.area_actions import AreaActions
from edge.signals import RunControl
AreaActions(Path(sys.argv[1]), {}, RunControl(), lambda _: None).ignore({"polygon": [[0, 0], [0.1, 0], [0.1, 0.1]]})
"""


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
    # Hints: for the placement of memory by OpenBLAS, and the priority of the process that proves a model.
    assert forbidden_calls(trace) <= {"mbind", "setpriority"}


def saving(path: Path, *sandbox: str) -> subprocess.CompletedProcess[str]:
    """Add an ignored area to a configuration inside a sandbox."""
    return subprocess.run(
        [*sandbox, sys.executable, "-c", SAVE, str(path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder_is_writable", [True, False])
def test_areas_are_saved_where_only_the_folder_of_the_configuration_is_writable(
    folder_is_writable: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    path = folder / "fireseg.toml"
    path.write_text("# Kitchen.\n")
    bind = (
        f"mount --bind {tmp_path} {tmp_path} && mount --bind {folder} {folder} && mount -o remount,ro,bind {tmp_path}"
    )
    protect = "true" if folder_is_writable else f"mount -o remount,ro,bind {folder}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", bind], capture_output=True).returncode:
        pytest.skip("mounting in a namespace needs root")
    done = saving(path, "unshare", "--mount", "sh", "-c", f'{bind} && {protect} && exec "$@"', "sh")
    if folder_is_writable:
        assert done.returncode == 0, done.stderr
        assert path.read_text().startswith("# Kitchen.\n\n[[ignored]]")
    else:
        problem = (
            f"the run may not write {path} and its folder: give the run a configuration in a folder that it may write"
        )
        assert problem in done.stderr.splitlines()[-1]
        assert path.read_text() == "# Kitchen.\n"


@pytest.mark.slow
def test_saving_areas_makes_no_system_call_that_the_unit_forbids(tmp_path: Path) -> None:
    if not (shutil.which("strace") and shutil.which("systemd-analyze")):
        pytest.skip("strace or systemd-analyze is not installed")
    path, trace = tmp_path / "fireseg.toml", tmp_path / "trace"
    path.write_text("")
    done = saving(path, "strace", "-f", "-qq", "-o", str(trace))
    if "ptrace" in done.stderr:
        pytest.skip("strace is not allowed here")
    assert done.returncode == 0, done.stderr
    assert forbidden_calls(trace) <= {"mbind"}


def test_only_a_folder_with_nothing_else_in_it_is_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, program = tmp_path / "home/camera", tmp_path / "home/fireseg/bin/fireseg-edge"
    camera.mkdir(parents=True)
    me = pwd.getpwuid(os.getuid())
    home = pwd.struct_passwd([*me[:5], str(tmp_path / "home"), me.pw_shell])
    monkeypatch.setattr("pwd.getpwnam", lambda _: home)
    assert config_folder(camera / "fireseg.toml", me.pw_name, program) == camera
    (tmp_path / "link.toml").symlink_to(camera / "fireseg.toml")
    assert config_folder(tmp_path / "link.toml", me.pw_name, program) == camera
    assert config_folder(camera / "fireseg.toml", me.pw_name, camera / "bin/fireseg-edge") is None
    assert config_folder(tmp_path / "home/fireseg.toml", me.pw_name, program) is None
    assert config_folder(tmp_path / "fireseg.toml", me.pw_name, program) is None
    assert config_folder(camera / "fireseg.toml", "someone else", program) is None


def forbidden_calls(trace: Path) -> set[str]:
    """Return the system calls in a trace that the unit does not allow."""
    calls = set(re.findall(r"^\d+ +([a-z]\w*)\(", trace.read_text(errors="replace"), re.MULTILINE))
    assert {"futex", "openat", "execve"} <= calls
    sets = system_call_sets()
    return calls - (sets["@default"] | sets["@system-service"] - sets["@privileged"] - sets["@resources"])


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
