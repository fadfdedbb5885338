"""The unit that `install-service` writes: systemd accepts it, it is sandboxed, and the run works inside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edge.commands.options import STATE
from edge.commands.service import (
    Service,
    check_access,
    memory_max_mb,
    plan_service,
    quote,
    render_unit,
    run_as,
    watchdog_s,
)
from edge.config import load_config
from edge.errors import UserError
from tests.support.edge_process import ROOT, WAIT_S
from tests.support.run_cli import Done, fireseg_edge, refused

MAX_EXPOSURE = 2.0
ODD = "a b%i $HOME ${x} é;#"
SYSTEM_PYTHON = Path("/usr/bin/python3")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def executable(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def config(shipped_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "fireseg.toml"
    path.write_text(f'[model]\npath = "{shipped_model}"\n')
    return path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An executable `fireseg-edge`, wherever this Python keeps its scripts."""
    path = executable(tmp_path / "bin" / "fireseg-edge")
    monkeypatch.setattr("edge.commands.service.find_program", lambda: path)
    return path


@pytest.fixture
def unit_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a unit is written instead of systemd's folder."""
    path = tmp_path / "written.service"
    monkeypatch.setattr("edge.commands.service.UNIT", path)
    return path


def service(program: Path) -> Service:
    return Service(
        program, config=None, user=None, reads=(), writes=(), watchdog_s=120,
        systemd_version=252, memory_max_mb=1024,
    )  # fmt: skip


def install(*arguments: str | Path, cwd: Path = ROOT) -> Done:
    return fireseg_edge("install-service", *arguments, cwd=cwd)


def analyze(text: str, folder: Path, *command: str) -> str:
    """Return what systemd-analyze prints about a unit."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: it comes with systemd")
    path = folder / "fireseg-edge.service"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *command, str(path)], capture_output=True, text=True, timeout=WAIT_S
    )
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("user", [None, "me"])
def test_systemd_accepts_the_unit_and_rates_it_as_sandboxed(user: str | None, program: Path, tmp_path: Path) -> None:
    made = service(program)
    if user:
        model, clips = Path("/home/me/model.tflite"), Path("/home/me/fires")
        made = replace(made, config=tmp_path / "c.toml", user=user, reads=(model,), writes=(clips,))
    text = render_unit(made)
    assert not re.findall("@[a-z_]+@", text)
    assert analyze(text, tmp_path, "verify") == ""
    output = analyze(text, tmp_path, "security", "--offline=true")
    exposure = re.search(r"Overall exposure level for \S+ ([\d.]+)", output)
    assert exposure, output
    assert float(exposure[1]) <= MAX_EXPOSURE


def test_special_characters_in_paths_are_literal(tmp_path: Path) -> None:
    program = executable(tmp_path / ODD / "fireseg-edge")
    folder = tmp_path / (ODD + "'q'")
    # systemd-analyze checks that the program is executable and that paths are absolute.
    text = render_unit(replace(service(program), config=folder / "c.toml", writes=(folder, folder)))
    assert analyze(text, tmp_path, "verify") == ""
    assert "ProtectClocks" in analyze(text.replace("ProtectClock", "ProtectClocks"), tmp_path, "verify")
    program.unlink()
    assert f"Command {program} is not executable" in analyze(text, tmp_path, "verify")


def test_quotes_and_backslashes_are_escaped_and_impossible_paths_refused() -> None:
    assert quote(r'/my "own" \n') == r'"/my \"own\" \\n"'
    assert quote("/etc/fireseg.toml") == "/etc/fireseg.toml"
    with pytest.raises(UserError, match="cannot be printed: rename it"):
        quote("/tmp/two\nlines")
    with pytest.raises(UserError, match="systemd accepts no quote or backslash"):
        render_unit(service(Path("/home/o'neill/bin/fireseg-edge")))


def test_the_unit_runs_this_program_with_the_absolute_configuration(config: Path, program: Path) -> None:
    text = install("--config", "fireseg.toml", "--dry-run", cwd=config.parent).out
    assert values(text, "ExecStart") == [f":{program} run --config {config}"]
    assert values(text, "Type") == ["notify"]
    assert values(text, "Restart") == ["always"]


def test_a_unit_per_camera_has_its_own_configuration_and_state(program: Path) -> None:
    text = render_unit(replace(service(program), user="me", config=Path("/etc/fireseg-edge/%i.toml"), per_camera=True))
    assert values(text, "ExecStart") == [f":{program} run --config /etc/fireseg-edge/%i.toml"]
    assert values(text, "AssertPathExists") == ["/etc/fireseg-edge/%i.toml"]
    assert values(text, "StateDirectory") == ["fireseg-edge/cameras/%i"]
    one = render_unit(service(program))
    assert (values(one, "AssertPathExists"), values(one, "StateDirectory")) == ([], ["fireseg-edge"])


@as_root
def test_the_service_of_the_debian_package_is_not_replaced(
    config: Path, unit_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.commands.service.PACKAGED_UNIT", config)
    (line,) = refused(install("--config", config))
    assert "the Debian package of fireseg-edge has a service already" in line
    assert not unit_path.exists()


def test_home_directories_are_hidden_unless_they_are_needed() -> None:
    away = replace(service(Path("/opt/fireseg-edge")), code=(Path("/usr"), Path("/opt/fireseg/edge/service.py")))
    assert values(render_unit(away), "ProtectHome") == ["yes"]
    home = Path("/home/me/fireseg")
    for needed in ({"program": home}, {"reads": (home,)}, {"writes": (home,)}, {"code": (home,)}):
        assert values(render_unit(replace(away, **needed)), "ProtectHome") == ["read-only"]


def test_only_folders_of_the_configuration_are_writable(config: Path, program: Path) -> None:
    with config.open("a") as file:
        file.write(f'[clips]\nfolder = "events of mine"\n[spool]\nfolder = "{STATE}/spool"\n')
    text = render_unit(plan_service(load_config(config), config, "nobody"))
    assert values(text, "ReadWritePaths") == [f'"-{config.parent}/events of mine"']
    assert values(text, "ProtectSystem") == ["strict"]
    assert values(text, "StateDirectory") == [STATE.name]


def test_a_dynamic_user_writes_only_to_the_state_folder(config: Path, program: Path) -> None:
    text = config.read_text()
    config.write_text(f'{text}[clips]\nfolder = "{STATE}/events"\n')
    assert plan_service(load_config(config), None, None).writes == ()
    config.write_text(f'{text}[clips]\nfolder = "events"\n')
    with pytest.raises(UserError, match=f"choose a folder in {STATE}, or pass --user"):
        plan_service(load_config(config), None, None)


def test_every_folder_that_the_configuration_writes_is_writable(config: Path, program: Path) -> None:
    with config.open("a") as file:
        file.write('[clips]\nfolder = "clips"\n[spool]\nfolder = "spool"\n')
    loaded = load_config(config)
    assert [path.name for path in loaded.files("written")] == ["clips", "spool"]
    assert plan_service(loaded, config, "nobody").writes == tuple(loaded.files("written"))


def test_restart_delays_grow_where_systemd_knows_how(program: Path) -> None:
    old, new = (render_unit(replace(service(program), systemd_version=version)) for version in (253, 254))
    assert values(new, "RestartSteps") == ["5"]
    assert values(new, "RestartMaxDelaySec") == ["60"]
    assert "RestartSteps=" not in old
    assert "RestartMaxDelaySec=" not in old
    assert values(old, "RestartSec") == values(new, "RestartSec") == ["5"]


def test_the_service_cannot_take_the_memory_of_the_machine(program: Path) -> None:
    assert [memory_max_mb(size_mb << 20) for size_mb in (512, 4096)] == [384, 1024]
    text = render_unit(replace(service(program), memory_max_mb=384))
    assert values(text, "MemoryMax") == ["384M"]
    assert values(text, "TasksMax") == ["128"]
    assert values(text, "OOMPolicy") == ["continue"]
    assert values(text, "UMask") == ["0077"]


@as_root
def test_it_runs_as_the_owner_of_the_configuration_never_as_root(config: Path, program: Path) -> None:
    text = install("--config", config, "--dry-run").out
    assert values(text, "DynamicUser") == ["yes"]
    os.chown(config, 65534, -1)
    text = install("--config", config, "--dry-run").out
    assert (values(text, "User"), values(text, "DynamicUser")) == (["nobody"], [])


def test_the_watchdog_outlasts_every_wait_of_the_loop() -> None:
    assert watchdog_s(load_config(None)) == 120
    assert watchdog_s(load_config(None, {"loop": {"max_fps": 0.01}, "alarm": {"memory_s": 200.0}})) > 2 / 0.01
    assert watchdog_s(load_config(None, {"source": {"stall_s": 100.0}})) > 60 + 2 * 100


MISTAKES = {
    "invalid configuration": (["--config", "bad.toml"], "has no key pth"),
    "missing configuration": (["--config", "gone.toml"], "could not be read"),
    "missing model": (["--config", "modelless.toml"], "gone.tflite could not be read"),
    "unknown user": (["--user", "no-such-user"], "create it with `useradd"),
    "root": (["--user", "root"], "must not run as root"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_before_anything_is_written(
    mistake: str, program: Path, unit_path: Path, tmp_path: Path
) -> None:
    arguments, expected = MISTAKES[mistake]
    (tmp_path / "bad.toml").write_text('[model]\npth = "x"\n')
    (tmp_path / "modelless.toml").write_text('[model]\npath = "gone.tflite"\n')
    (line,) = refused(install(*arguments, cwd=tmp_path))
    assert expected in line
    assert not unit_path.exists()


def test_without_root_it_names_sudo_and_a_dry_run_works(
    config: Path, program: Path, unit_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.commands.service.os.geteuid", lambda: 1000)
    (line,) = refused(install("--config", config))
    assert "with sudo, or print the unit with --dry-run" in line
    done = install("--config", config, "--dry-run")
    assert done.code == 0
    assert done.out.startswith("# Written by")
    assert not unit_path.exists()


@as_root
def test_the_unit_is_written_with_its_folders_and_how_to_start_it(
    config: Path, program: Path, unit_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.commands.service.run_as", lambda *_: "")
    with config.open("a") as file:
        file.write('[clips]\nfolder = "events"\n')
    done = install("--config", config, "--user", "nobody")
    assert done.code == 0, done
    assert "systemctl daemon-reload" in done.out
    assert "systemctl enable --now fireseg-edge" in done.out
    assert values(unit_path.read_text(), "User") == ["nobody"]
    assert (config.parent / "events").stat().st_uid == 65534


@as_root
@pytest.mark.parametrize("user", [None, "nobody"])
def test_a_file_that_the_user_cannot_access_is_refused(user: str | None, tmp_path: Path) -> None:
    if not SYSTEM_PYTHON.is_file():
        pytest.skip(f"{SYSTEM_PYTHON} is not installed")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.name.startswith("pytest"):
            folder.chmod(0o755)
    good = replace(
        service(SYSTEM_PYTHON), user=user, reads=(Path("/etc/hostname"),), python=SYSTEM_PYTHON, code=(SYSTEM_PYTHON,)
    )
    check_access(good)
    private = tmp_path / "private.toml"
    private.touch(0o600)
    with pytest.raises(UserError, match=r"cannot read .*private\.toml: .* run `sudo chgrp video /.*/private\.toml && "):
        check_access(replace(good, reads=(private,)))
    with pytest.raises(UserError, match="cannot write /etc"):
        check_access(replace(good, writes=(Path("/etc"),)))
    with pytest.raises(UserError, match=r"cannot run .*install fireseg-edge where every user can run it"):
        check_access(replace(good, python=private))
    assert run_as("nobody", ["/usr/bin/id", "-u"]).strip() == "65534"
