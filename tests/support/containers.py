"""Images and containers for tests, made by podman from a Debian that debootstrap unpacks: no registry is needed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("FIRESEG_IMAGE_BASE", "localhost/fireseg-base:trixie")
WAIT_S = 180.0
NEEDS_PODMAN = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("podman") or os.getuid() != 0, reason="needs podman, and root"),
]


def podman(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["podman", *map(str, arguments)], capture_output=True, text=True, timeout=1800)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def configure_podman(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let podman run on machines that may not raise limits, or mount both kinds of control groups."""
    limits = {name: resource.getrlimit(kind)[1] for name, kind in (("nofile", resource.RLIMIT_NOFILE),)}
    # "-1" is no limit to the kernel; a large number that is allowed wherever there is none.
    ulimits = [
        f"{name}={value if value > 0 else 1 << 16}:{value if value > 0 else 1 << 16}" for name, value in limits.items()
    ]
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    path = folder / "containers.conf"
    path.write_text(f"[containers]\ndefault_ulimits = {json.dumps([*ulimits, 'nproc=4096:4096'])}\n[engine]\n{runtime}")
    monkeypatch.setenv("CONTAINERS_CONF", str(path))


def make_base(folder: Path) -> None:
    """Import a minimal Debian as `BASE`, unless it exists; skip the test if this machine cannot."""
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return
    if not shutil.which("debootstrap"):
        pytest.skip(f"needs the image {BASE} (FIRESEG_IMAGE_BASE), or debootstrap to make one")
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "trixie", folder / "base"], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"debootstrap failed: {made.stdout[-300:]}")
    packed = subprocess.Popen(["tar", "-C", folder / "base", "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["podman", "import", "-", BASE], stdin=packed.stdout, check=True, capture_output=True)
    assert packed.wait() == 0


def build_image(context: Path, name: str, folder: Path) -> None:
    """Build an image on the host's network, with the host's certificates if pip uses its own."""
    arguments = ["--format", "docker", "--network", "host", "--build-arg", f"BASE={BASE}", "-t", name]
    if certificates := os.environ.get("PIP_CERT"):
        (folder / "pip.conf").write_text("[global]\ncert = /etc/ssl/build-ca.crt\n")
        arguments += ["-v", f"{certificates}:/etc/ssl/build-ca.crt:ro", "-v", f"{folder}/pip.conf:/etc/pip.conf:ro"]
    podman("build", *arguments, context)


@dataclass
class Container:
    """A started container."""

    id: str

    def execute(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return podman("exec", self.id, *command, check=check)

    @property
    def log(self) -> str:
        done = podman("logs", self.id)
        return done.stdout + done.stderr

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(podman("inspect", self.id).stdout)[0]["State"]
        return state

    def is_healthy(self) -> bool:
        """Run the image's health check once, as the engine's timer does."""
        return podman("healthcheck", "run", self.id, check=False).returncode == 0

    def wait_for(self, condition: Callable[[], Any]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert self.state()["Running"], self.log
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.3)


@contextmanager
def container(image: str, *options: str | Path, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Start a container and remove it at the end."""
    started = Container(podman("run", "--detach", *options, image, *command).stdout.strip())
    try:
        yield started
    finally:
        podman("rm", "--force", "--time", "0", started.id)
