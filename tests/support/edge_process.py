"""`fireseg-edge run` in its own process, with its results, events and log lines as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.process import until_killed

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-c", "from edge.cli import run; run()", "run")
ENVIRONMENT = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
WAIT_S = 60.0  # for what takes a second on an idle machine


def lines(stdout: str, kind: str) -> list[dict[str, Any]]:
    """Return the results or events of a run with `--log json`."""
    return [line for line in map(json.loads, stdout.splitlines()) if line["type"] == kind]


@dataclass
class EdgeProcess:
    """A run with `--log json`."""

    process: subprocess.Popen[str]
    results: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.02)

    def wait_for_results(self, count: int) -> None:
        """Wait for `count` more results."""
        total = len(self.results) + count
        self.wait_for(lambda: len(self.results) >= total)

    def wait_for_log(self, text: str, *, since: int = 0) -> str:
        """Return the first log line from number `since` on that contains `text`."""
        self.wait_for(lambda: any(text in line for line in self.log[since:]))
        return next(line for line in self.log[since:] if text in line)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(WAIT_S / 2)
        except subprocess.TimeoutExpired:  # Python can lose a Ctrl-C while it imports; a person presses it again
            assert number == signal.SIGINT, self.log
            self.process.send_signal(number)
            return self.process.wait(WAIT_S / 2)

    def _read_stdout(self) -> None:
        assert self.process.stdout
        for text in self.process.stdout:
            line = json.loads(text)
            (self.results if line["type"] == "result" else self.events).append(line)

    def _read_stderr(self) -> None:
        assert self.process.stderr
        self.log.extend(line.rstrip() for line in self.process.stderr)


@contextmanager
def edge_process(
    *arguments: str | Path, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Iterator[EdgeProcess]:
    """Start a run, with more variables of the environment, and kill it at the end. It has its own state folder."""
    with tempfile.TemporaryDirectory(prefix="fireseg-state-") as state:
        variables = ENVIRONMENT | {"XDG_STATE_HOME": state} | dict(environment or {})
        process = subprocess.Popen(
            [*RUN, *map(str, arguments), "--log", "json"],
            cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        run = EdgeProcess(process)
        with until_killed(process, run._read_stdout, run._read_stderr):
            yield run
