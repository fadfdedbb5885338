"""Run `fireseg-export` in a separate process, or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from export import cli

Run = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = ("FIRESEG_DIR", "MODEL")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `fireseg-export` as a process, in an empty folder, without environment settings."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}

    def run_command(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from export.cli import run; run()", *map(str, arguments)]
        environment_now = {**environment, "COLUMNS": "120", "TERM": "dumb", **settings}
        return subprocess.run(command, cwd=folder, env=environment_now, capture_output=True, text=True, timeout=1800)

    return run_command


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The same entry point in this process, where TensorFlow is loaded already."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)

    def run_command(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["fireseg-export", *map(str, arguments)])
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run()
        out, err = capfd.readouterr()
        code = ended.value.code
        return subprocess.CompletedProcess(sys.argv, code if isinstance(code, int) else 0, out, err)

    return run_command
