"""What the tests of packaging share: the release's tools, the wheel, and commands without inherited settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.run_cli import Done

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FIRESEG_"))} | {
    "COLUMNS": "200",
    "NO_COLOR": "1",
}


def execute(*command: object, cwd: Path | None = None, **environment: str) -> Done:
    """Run a command and return how it ended."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT | environment
    )
    return Done(done.returncode, done.stdout, done.stderr)


def checked(*command: object, cwd: Path | None = None, **environment: str) -> str:
    """Run a command that must succeed and return what it prints."""
    done = execute(*command, cwd=cwd, **environment)
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that `make release` uses: build/release/bin, made if it does not exist."""
    checked("make", "--no-print-directory", "build/release/.installed", cwd=ROOT)
    return ROOT / "build/release/bin"


@pytest.fixture(scope="session")
def built(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of the working tree."""
    folder = tmp_path_factory.mktemp("built")
    checked(ROOT / "release/build.sh", folder, PYTHON=str(tools / "python"))
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path
