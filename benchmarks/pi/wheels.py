"""The wheels that pip would install on a 64-bit Pi, from a lock file, for a Python that this machine need not have."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

from edge.errors import UserError

# pip takes a platform's tag by the letter: every glibc that a wheel of ours may ask for, up to Debian 12's.
GLIBC_MINORS = range(17, 37)
ROOT = Path(__file__).parents[2]


def marker_environment(python: str) -> dict[str, str]:
    """What the markers of a lock file are read against: a 64-bit Pi's Python, such as "3.11"."""
    return {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "aarch64",
        "python_version": python,
        "python_full_version": f"{python}.9",
        "extra": "",
    }


def pinned_for(lock: str, python: str) -> str:
    """The lines of a lock file, with its hashes, that hold for a 64-bit Pi: markers read, and left out."""
    chosen = []
    for line in lock.replace("\\\n", " ").splitlines():
        text, *hashes = line.split(" --hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(marker_environment(python)):
            pinned = f"{requirement.name}{requirement.specifier}"
            chosen.append(" ".join([pinned, *(f"--hash={value.strip()}" for value in hashes)]))
    return "\n".join(chosen) + "\n"


def download(lock: Path, python: str, out: Path) -> Path:
    """Bring the aarch64 wheels that a lock file names into `out`. Raises `UserError` where one cannot be had."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = out / "requirements.txt"
    chosen.write_text(pinned_for(lock.read_text(), python))
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS]
    _pip(
        "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(chosen), "-d", str(out),
        "--python-version", python, "--platform=manylinux2014_aarch64", *platforms,
    )  # fmt: skip
    chosen.unlink()
    return out


def build_own(out: Path) -> Path:
    """Build the project's own wheel into `out`, alone there, and return it."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.whl"):
        old.unlink()
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT))
    return next(out.glob("*.whl"))


def contents_hash(wheel: Path) -> str:
    """A hash of what a wheel holds: the file's own changes with every build, by the times within."""
    with ZipFile(wheel) as archive:
        members = sorted((member.filename, member.CRC) for member in archive.infolist())
    return hashlib.sha256(repr(members).encode()).hexdigest()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["it said nothing"]
        raise UserError(f"pip {arguments[0]} failed ({reason[0]})", "is there a network, and does the lock file fit?")
