"""A Debian with systemd as PID 1, in a container of systemd-nspawn; made once by debootstrap, kept in build/deb."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.waiting import wait_for

BUILD = Path(__file__).parents[2] / "build/deb"
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3"
BOOT_S = 240.0
COMMAND_S = 600.0


@dataclass
class Container:
    """A booted container. It shares the network of this machine."""

    root: Path
    shared: Path
    log: Path
    process: subprocess.Popen[bytes]

    def sh(self, script: str, *, code: int | None = 0) -> str:
        """Return what a shell script prints inside. `code` is its expected exit code, None for any."""
        command = ["nsenter", "-t", str(self.init()), "-m", "-u", "-i", "-p", "-C", "--", "/bin/sh", "-c", script]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_S
        )
        assert code is None or done.returncode == code, f"{script}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout.strip()

    def init(self) -> int:
        """Return the number of its systemd."""
        listed = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return int((listed.stdout.split() or ["0"])[0])

    def boot_again(self) -> None:
        """Shut down and boot."""
        self.process.terminate()
        self.process.wait(BOOT_S)
        self.process = start(self.root, self.shared, self.log)
        wait_for(self.booted, BOOT_S)

    def booted(self) -> bool:
        """Return whether systemd has started everything."""
        return bool(self.init()) and self.sh("systemctl is-system-running", code=None) in ("running", "degraded")

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.sh(f"systemctl show --value -p {name} {unit}")


def start(root: Path, shared: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a container, with the folder `shared` at /srv."""
    command = [
        "systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--boot", f"--directory={root}",
        f"--machine=fireseg-{os.getpid()}", "--console=pipe", f"--bind-ro={shared}:/srv",
    ]  # fmt: skip
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)


@contextmanager
def booted(suite: str, folder: Path, shared: Path) -> Iterator[Container]:
    """Boot a copy of a release's system, with the folder `shared` at /srv."""
    for program, package in (("systemd-nspawn", "systemd-container"), ("debootstrap", "debootstrap")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: install {package}")
    if os.geteuid():
        pytest.skip("only root can start a container")
    pristine, root = BUILD / f"root-{suite}", folder / "root"
    if not pristine.is_dir():
        partial = pristine.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(partial)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        partial.rename(pristine)
    subprocess.run(["cp", "-a", str(pristine), str(root)], check=True)
    log = folder / "console.log"
    container = Container(root, shared, log, start(root, shared, log))
    try:
        try:
            wait_for(container.booted, BOOT_S)
        except AssertionError:
            pytest.skip(f"no container boots here: {log.read_text(errors='replace')[-300:]}")
        yield container
    finally:
        container.process.terminate()
        container.process.wait(BOOT_S)
        shutil.rmtree(root, ignore_errors=True)
