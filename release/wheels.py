"""The wheels that a lock file pins for another machine: which they are, and their download with hashes checked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from edge.errors import UserError

DEBIAN = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}
"""Release of Debian and Raspberry Pi OS -> its Python, and the minor version of its glibc 2."""
ARCHITECTURES = ("aarch64", "x86_64")
OLDEST_GLIBC_MINOR = 17


@dataclass(frozen=True)
class Target:
    """A kind of machine that wheels are for."""

    architecture: str
    python: str
    glibc_minor: int

    @property
    def platforms(self) -> list[str]:
        """The platform tags that it installs: pip compares tags literally, so each glibc is named."""
        minors = range(OLDEST_GLIBC_MINOR, self.glibc_minor + 1)
        names = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in minors)]
        return [f"{name}_{self.architecture}" for name in names]


def debian(release: str, architecture: str = "aarch64", python: str | None = None) -> Target:
    """Return the target of a Debian release, with its own Python unless another is named."""
    own_python, glibc_minor = DEBIAN[release]
    return Target(architecture, python or own_python, glibc_minor)


def pinned_for(lock: str, target: Target) -> str:
    """Return the lines of a lock file, with hashes, that apply to a target."""
    environment = {
        "platform_machine": target.architecture,
        "python_version": target.python,
        "python_full_version": f"{target.python}.9",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }
    lines = []
    for line in lock.replace("\\\n", " ").splitlines():
        text, *hashes = line.split(" --hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pinned = f"{requirement.name}{requirement.specifier}"
            lines.append(" ".join([pinned, *(f"--hash={value.strip()}" for value in hashes)]))
    return "\n".join(lines) + "\n"


def download_wheels(lock: Path, target: Target, out: Path) -> str:
    """Download a target's wheels of a lock file into `out`, and return the pinned requirements, with hashes.

    Raise `UserError` if a wheel is not available or has another hash.
    """
    out.mkdir(parents=True, exist_ok=True)
    pinned = pinned_for(lock.read_text(), target)
    requirements = out / "requirements.txt"
    requirements.write_text(pinned)
    run_pip(
        "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements), "-d", str(out),
        "--python-version", target.python, *(f"--platform={name}" for name in target.platforms),
    )  # fmt: skip
    requirements.unlink()
    return pinned


def run_pip(*arguments: str) -> None:
    """Run this interpreter's pip. Raise `UserError` with its first error if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no output"]
        raise UserError(f"pip {arguments[0]} failed ({errors[0]})", "check the network and the lock file")
