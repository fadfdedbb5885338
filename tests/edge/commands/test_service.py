"""The unit that `install-service` writes: one that systemd takes, that locks the run in, and that lets it watch."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmarks.soak.process import COMMAND, ROOT
from edge.cli import app
from edge.commands.service import STATE, Service, check_access, plan, quoted, run_as, unit, watchdog_s
from edge.config import load_config
from edge.errors import UserError

MOST_EXPOSURE = 2.0
WAIT_S = 60
ODD = "a b%i $HOME ${x} é;#"
PYTHON_OF_ALL = Path("/usr/bin/python3")
PR_SET_MDWE = 65
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def config(shipped_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "fireseg.toml"
    path.write_text(f'[model]\npath = "{shipped_model}"\n')
    return path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something that can be executed, wherever this Python keeps its scripts."""
    path = tmp_path / "bin" / "fireseg-edge"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr("edge.commands.service.find_program", lambda: path)
    return path


def service(program: Path, *, config: Path | None = None, **changes: object) -> Service:
    made = dict(program=program, config=config, user=None, reads=(), writes=(), folder=None, watchdog_s=120)  # noqa: C408
    return Service(**{**made, **changes})  # type: ignore[arg-type]


def install(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["install-service", *map(str, arguments)])


def analyze(text: str, folder: Path, *command: str) -> str:
    """What systemd-analyze says of a unit."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: it comes with systemd")
    path = folder / "fireseg-edge.commands.service"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *command, str(path)], capture_output=True, text=True, timeout=WAIT_S
    )
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("user", [None, "me"])
def test_systemd_takes_the_unit_and_calls_it_locked_in(user: str | None, program: Path, tmp_path: Path) -> None:
    model, clips = Path("/home/me/model.tflite"), Path("/home/me/fires")
    at_home = service(program, config=tmp_path / "c.toml", user=user, reads=(model,), writes=(clips,), folder=tmp_path)
    text = unit(at_home if user else service(program))
    assert analyze(text, tmp_path, "verify") == ""
    said = analyze(text, tmp_path, "security", "--offline=true")
    found = re.search(r"Overall exposure level for \S+ ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= MOST_EXPOSURE


def test_a_misspelt_key_would_be_noticed(program: Path, tmp_path: Path) -> None:
    text = unit(service(program)).replace("ProtectClock", "ProtectClocks")
    assert "ProtectClocks" in analyze(text, tmp_path, "verify")


def test_odd_signs_in_paths_mean_themselves(tmp_path: Path) -> None:
    program = tmp_path / ODD / "fireseg-edge"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    folder = tmp_path / (ODD + "'q'")
    # systemd-analyze looks whether it can execute what it read, and whether what it read is an absolute path.
    text = unit(service(program, config=folder / "c.toml", writes=(folder,), folder=folder))
    assert analyze(text, tmp_path, "verify") == ""
    program.unlink()
    assert f"Command {program} is not executable" in analyze(text, tmp_path, "verify")


def test_quotes_and_backslashes_in_a_word_are_escaped_as_in_c() -> None:
    assert quoted(r'/my "own" \n') == r'"/my \"own\" \\n"'
    assert quoted("/etc/fireseg.toml") == "/etc/fireseg.toml"


def test_a_path_that_no_unit_can_hold_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be printed: rename it"):
        quoted("/tmp/two\nlines")
    with pytest.raises(UserError, match="systemd takes no program with a quote or a backslash"):
        unit(service(Path("/home/o'neill/bin/fireseg-edge")))


def test_the_unit_runs_this_program_with_the_absolute_configuration(
    config: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    text = install("--config", "fireseg.toml", "--dry-run").stdout
    assert values(text, "ExecStart") == [f":{program} run --config {config}"]
    assert values(text, "Type") == ["notify"]
    assert values(text, "Restart") == ["always"]
    assert values(text, "WorkingDirectory") == []


def test_homes_are_out_of_sight_unless_something_lies_there(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.commands.service.sys.base_prefix", "/usr")
    monkeypatch.setattr("edge.commands.service.__file__", "/opt/fireseg/edge/service.py")
    assert values(unit(service(program)), "ProtectHome") == ["yes"]
    for there in (
        service(Path("/home/me/.venv/bin/fireseg-edge")),
        service(program, reads=(Path("/home/me/model.tflite"),)),
        service(program, writes=(Path("/home/me/events"),), user="me"),
        service(program, folder=Path("/root") / "fireseg"),
    ):
        assert values(unit(there), "ProtectHome") == ["read-only"]


def test_folders_of_the_configuration_are_the_only_ones_it_may_write_beside_its_own(
    config: Path, program: Path
) -> None:
    with config.open("a") as file:
        file.write(f'[clips]\nfolder = "events of mine"\n[spool]\nfolder = "{STATE}/spool"\n')
    text = unit(plan(load_config(config), config, "nobody"))
    assert values(text, "ReadWritePaths") == [f'"-{config.parent}/events of mine"']
    assert values(text, "ProtectSystem") == ["strict"]
    assert values(text, "StateDirectory") == [STATE.name]


def test_a_folder_for_a_user_that_is_made_up_is_refused_but_in_its_state(config: Path, program: Path) -> None:
    text = config.read_text()
    config.write_text(f'{text}[clips]\nfolder = "{STATE}/events"\n')
    assert plan(load_config(config), None, None).writes == ()
    config.write_text(f'{text}[clips]\nfolder = "events"\n')
    with pytest.raises(UserError, match=f"choose a folder in {STATE}, or name a --user"):
        plan(load_config(config), None, None)


@as_root
def test_it_runs_as_who_owns_the_configuration_never_as_root(config: Path, program: Path) -> None:
    text = install("--config", config, "--dry-run").stdout
    assert values(text, "DynamicUser") == ["yes"]
    os.chown(config, 65534, -1)
    text = install("--config", config, "--dry-run").stdout
    assert (values(text, "User"), values(text, "DynamicUser")) == (["nobody"], [])


def test_the_watchdog_outlasts_every_wait_of_the_loop(config: Path) -> None:
    assert watchdog_s(load_config(None)) == 120
    slow = load_config(None, {"loop": {"max_fps": 0.01}})
    assert watchdog_s(slow) > 2 / 0.01
    assert watchdog_s(load_config(None, {"source": {"stall_s": 100.0}})) > 60 + 2 * 100


MISTAKES = {
    "a bad configuration": (["--config", "bad.toml"], "has no key pth"),
    "no configuration": (["--config", "gone.toml"], "could not be read"),
    "no model": (["--config", "modelless.toml"], "gone.tflite could not be read"),
    "no such user": (["--user", "no-such-user"], "create it with `useradd"),
    "root": (["--user", "root"], "needs no rights of root"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_anything_is_written(
    mistake: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, told = MISTAKES[mistake]
    (tmp_path / "bad.toml").write_text('[model]\npth = "x"\n')
    (tmp_path / "modelless.toml").write_text('[model]\npath = "gone.tflite"\n')
    monkeypatch.setattr("edge.commands.service.UNIT", tmp_path / "written.service")
    given = [str(tmp_path / word) if word.endswith(".toml") else word for word in given]
    error = install(*given).exception
    assert isinstance(error, UserError)
    assert told in str(error)
    assert not (tmp_path / "written.service").exists()


def test_without_rights_sudo_is_named_and_a_dry_run_works(
    config: Path, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.commands.service.UNIT", tmp_path / "written.service")
    monkeypatch.setattr("edge.commands.service.os.geteuid", lambda: 1000)
    error = install("--config", config).exception
    assert isinstance(error, UserError)
    assert "with sudo, or see the unit with --dry-run" in str(error)
    done = install("--config", config, "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.startswith("# Written by")
    assert not (tmp_path / "written.service").exists()


@as_root
def test_the_unit_is_written_with_the_folders_and_the_way_to_start_it(
    config: Path, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.commands.service.UNIT", tmp_path / "written.service")
    monkeypatch.setattr("edge.commands.service.run_as", lambda *_: "")
    with config.open("a") as file:
        file.write('[clips]\nfolder = "events"\n')
    done = install("--config", config, "--user", "nobody")
    assert done.exit_code == 0, done.exception
    assert "systemctl daemon-reload" in done.stdout
    assert "systemctl enable --now fireseg-edge" in done.stdout
    assert values((tmp_path / "written.service").read_text(), "User") == ["nobody"]
    assert (tmp_path / "events").stat().st_uid == 65534


@as_root
@pytest.mark.parametrize("user", [None, "nobody"])
def test_what_the_service_s_user_could_not_read_or_write_is_refused(
    user: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not PYTHON_OF_ALL.is_file():
        pytest.skip(f"{PYTHON_OF_ALL} is not installed")
    monkeypatch.setattr("edge.commands.service.sys.executable", str(PYTHON_OF_ALL))
    monkeypatch.setattr("edge.commands.service.__file__", str(PYTHON_OF_ALL))
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.name.startswith("pytest"):
            folder.chmod(0o755)
    good = service(PYTHON_OF_ALL, user=user, reads=(Path("/etc/hostname"),))
    check_access(good)
    private = tmp_path / "private.toml"
    private.touch(0o600)
    with pytest.raises(UserError, match=r"private\.toml cannot be read by .*: name a --user who can"):
        check_access(service(PYTHON_OF_ALL, user=user, reads=(private,)))
    with pytest.raises(UserError, match="/etc cannot be written by"):
        check_access(service(PYTHON_OF_ALL, user=user, writes=(Path("/etc"),)))
    monkeypatch.setattr("edge.commands.service.sys.executable", str(private))
    with pytest.raises(UserError, match=r"cannot be run by .*install fireseg-edge where all can"):
        check_access(good)
    assert run_as("nobody", ["/usr/bin/id", "-u"]).strip() == "65534"


def test_a_run_bears_that_no_memory_is_both_written_and_executed(shipped_model: Path) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot refuse such memory: Linux 6.3 can")
    refuse = f"import ctypes, os, sys; assert not ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0)"
    arguments = [*COMMAND, "--model", str(shipped_model), "--source", "test-pattern", "--max-frames", "5"]
    done = subprocess.run(
        [sys.executable, "-c", f"{refuse}; os.execv(sys.argv[1], sys.argv[1:])", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.stdout.splitlines()[-1].startswith("test-pattern: 5 frames")


def test_a_run_calls_the_kernel_for_nothing_that_the_unit_forbids(shipped_model: Path, tmp_path: Path) -> None:
    if not (shutil.which("strace") and shutil.which("systemd-analyze")):
        pytest.skip("strace or systemd-analyze is not installed")
    arguments = [*COMMAND, "--model", str(shipped_model), "--source", "test-pattern", "--max-frames", "5"]
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), *arguments, "--clips", str(tmp_path / "events")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace is not allowed here")
    assert done.returncode == 0, done.stderr
    called = set(re.findall(r"^\d+ +([a-z]\w*)\(", trace.read_text(errors="replace"), re.MULTILINE))
    sets = system_call_sets()
    allowed = sets["@default"] | sets["@system-service"] - sets["@privileged"] - sets["@resources"]
    # A wish about where memory lies; OpenBLAS goes on without.
    assert called - allowed <= {"mbind"}
    assert {"futex", "openat", "execve"} <= called


def system_call_sets() -> dict[str, set[str]]:
    """systemd's sets of system calls, the sets within them resolved."""
    told = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True).stdout
    members: dict[str, list[str]] = {}
    for block in told.split("\n@"):
        name, *lines = block.splitlines()
        members["@" + name.lstrip("@")] = [line.strip() for line in lines if line.strip() and "#" not in line]

    def resolved(name: str) -> set[str]:
        return set().union(*(resolved(one) if one.startswith("@") else {one} for one in members[name]))

    return {name: resolved(name) for name in members}
