"""An environment a peer, of what its lock file pins: runtimes ask for versions of numpy that do not go together."""

from __future__ import annotations

import hashlib
import platform
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements" / "peers"
INSTALL_LIMIT_S = 1800
REASON_LIMIT = 240


class PeerError(Exception):
    """Why a peer, or one of its models, is not measured: one line, for its row."""

    def __init__(self, reason: str) -> None:
        text = " ".join(reason.split())
        super().__init__(text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 1] + "…")


@dataclass(frozen=True)
class Environment:
    """Where one peer's packages are installed, and the Python they need, if it is not the project's own."""

    name: str
    lock: Path
    python: tuple[int, int] | None = None

    def prepare(self, folder: Path) -> Path:
        """Make the environment below `folder` unless it is there; returns its Python. Raises `PeerError`."""
        try:
            digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        except OSError as error:
            raise PeerError(f"{self.lock.name} could not be read ({error.strerror}): run `make lock`") from error
        whole = folder / f"{self.name}-{digest[:12]}"
        python = whole / "bin" / "python"
        if not python.is_file():
            base = self._base_python()
            # Under another name until it is whole, so that an interrupted installation is not taken for one.
            unfinished = folder / f".{whole.name}-{uuid.uuid4().hex[:8]}"
            try:
                self._install(base, unfinished)
                unfinished.rename(whole)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return python

    def _base_python(self) -> str:
        if self.python is None or self.python == sys.version_info[:2]:
            return sys.executable
        name = f"python{self.python[0]}.{self.python[1]}"
        if found := shutil.which(name):
            return found
        raise PeerError(f"needs Python {self.python[0]}.{self.python[1]}, and there is no {name} on PATH")

    def _install(self, base: str, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        run([base, "-m", "venv", str(folder)], INSTALL_LIMIT_S, f"{base} made no environment")
        # A lock holds everything that is needed, and nothing is built: a peer without a wheel is a row that says so.
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(self.lock)]
        machine = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
        run([*pip, *options], INSTALL_LIMIT_S, f"pip could not install {self.lock.name} for {machine}")


def run(
    command: list[str], limit_s: float, failure: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a command and keep its output from the terminal. Raises `PeerError` with the last it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=env, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{failure}: it took longer than {limit_s:.0f} s") from None
    except OSError as error:
        raise PeerError(f"{failure}: {error.strerror}") from error
    if done.returncode:
        raise PeerError(f"{failure}: {last_words(done.stderr, done.returncode)}")


def last_words(said: str, status: int) -> str:
    """Why a program failed, as far as can be told: the signal that ended it, else its last line."""
    if status < 0:
        return f"it crashed ({signal.Signals(-status).name})"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {status}, without a word"
