"""`fireseg-edge run` as a process under observation: its lines as they come, its memory and its writes each second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from edge.cli import run; run()", "run")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_WAIT_S = 30.0


@dataclass(frozen=True)
class Sample:
    """One look at the process from outside."""

    at_s: float
    rss_bytes: int
    written_bytes: int
    """What it made the disk write since it began."""


@dataclass
class Subject:
    """A run that goes on, and what it has said."""

    process: subprocess.Popen[str]
    began_s: float
    at_s: list[float] = field(default_factory=list)
    """When each result came, by `time.monotonic`; the two lists below go with it."""
    ages_ms: list[float] = field(default_factory=list)
    inferences_ms: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What it logged."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def results(self) -> int:
        return len(self.at_s)

    def wait_for(self, happened: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait until something is so; the seconds it took. Raises TimeoutError."""
        began_s = time.monotonic()
        while not happened():
            if self.process.poll() is not None:
                raise TimeoutError(f"the run ended while waiting for {what}: {' / '.join(self.said[-3:])}")
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"{what} did not come in {timeout_s:.0f} s: {' / '.join(self.said[-3:])}")
            time.sleep(0.02)
        return time.monotonic() - began_s

    def wait_for_results(self, more: int, timeout_s: float) -> float:
        """Wait for so many further results; the seconds it took."""
        wanted = self.results + more
        return self.wait_for(lambda: self.results >= wanted, f"{more} results", timeout_s)

    def terminate(self) -> float:
        """SIGTERM, and the seconds until the process was gone."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_WAIT_S)
        return time.monotonic() - began_s


@contextmanager
def subject(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Subject]:
    """Start a run with JSON lines, and watch over it."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--log", "json"],
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watched = Subject(process, began_s)
    readers = [
        threading.Thread(target=read, args=(watched,), daemon=True) for read in (_read_lines, _read_log, _sample)
    ]
    for reader in readers:
        reader.start()
    try:
        yield watched
    finally:
        process.kill()
        process.wait()
        for reader in readers:
            reader.join()


def _read_lines(watched: Subject) -> None:
    assert watched.process.stdout
    for text in watched.process.stdout:
        line = json.loads(text)
        if line["type"] == "event":
            watched.events.append(line)
        else:
            watched.ages_ms.append(line["age_ms"])
            watched.inferences_ms.append(line["inference_ms"])
            watched.at_s.append(time.monotonic())


def _read_log(watched: Subject) -> None:
    assert watched.process.stderr
    for text in watched.process.stderr:
        watched.said.append(text.rstrip())


def _sample(watched: Subject) -> None:
    proc = Path("/proc") / str(watched.process.pid)
    while watched.process.poll() is None:
        try:
            pages = int((proc / "statm").read_text().split()[1])
            io = dict(line.split(": ") for line in (proc / "io").read_text().splitlines())
        except (OSError, IndexError):  # it is ending
            return
        watched.samples.append(Sample(time.monotonic(), pages * PAGE_BYTES, int(io["write_bytes"])))
        time.sleep(1)


def plain_run(arguments: Sequence[str | Path]) -> str:
    """A run from beginning to end without JSON; its last line, the summary."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise RuntimeError(f"the run failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip().splitlines()[-1]
