"""`fireseg-edge run` as a process under test: its JSON lines, its log, and its memory and disk writes each second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EDGE = (sys.executable, "-c", "from edge.cli import run; run()")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
EXIT_WAIT_S = 30.0


@dataclass(frozen=True)
class Sample:
    """Memory and total disk writes of the process at one moment."""

    at_s: float
    rss_bytes: int
    written_bytes: int


@dataclass
class ProcessUnderTest:
    """A running `fireseg-edge run` and everything it has printed."""

    process: subprocess.Popen[str]
    started_s: float
    at_s: list[float] = field(default_factory=list)
    """Arrival of each result, by `time.monotonic`. The next two lists are parallel to it."""
    ages_ms: list[float] = field(default_factory=list)
    inferences_ms: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def results(self) -> int:
        return len(self.at_s)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait for a condition and return the seconds it took. Raise TimeoutError, also if the process ended."""
        start_s = time.monotonic()
        while not condition():
            has_ended = self.process.poll() is not None
            if has_ended or time.monotonic() - start_s > timeout_s:
                reason = "the run ended" if has_ended else f"{timeout_s:.0f} s passed"
                raise TimeoutError(f"{reason} before {what}: {' / '.join(self.log_lines[-3:])}")
            time.sleep(0.02)
        return time.monotonic() - start_s

    def wait_for_results(self, more: int, timeout_s: float) -> float:
        """Wait for `more` further results and return the seconds it took."""
        target = self.results + more
        return self.wait_for(lambda: self.results >= target, f"{more} results", timeout_s)

    def wait_for_log(self, words: str, timeout_s: float, *, since: int = 0) -> float:
        """Wait for a log line, from number `since` on, that contains these words."""
        return self.wait_for(lambda: any(words in line for line in self.log_lines[since:]), repr(words), timeout_s)

    def peak_rss_bytes(self) -> int:
        """Return the largest resident memory so far."""
        peaks = [sample.rss_bytes for sample in self.samples]
        with suppress(OSError, IndexError):  # the process ended
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            peaks.append(1024 * int(status.partition("VmHWM:")[2].split()[0]))
        return max(peaks, default=0)

    def terminate(self) -> float:
        """Send SIGTERM and return the seconds until the process ended."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(EXIT_WAIT_S)
        return time.monotonic() - start_s


@contextmanager
def start_run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[ProcessUnderTest]:
    """Start a run with JSON lines and record what it prints. Kill it at the end of the block."""
    started_s = time.monotonic()
    process = subprocess.Popen(
        [*EDGE, "run", *map(str, arguments), "--log", "json"],
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = ProcessUnderTest(process, started_s)
    with until_killed(process, *(partial(read, run) for read in (_read_lines, _read_log, _sample))):
        yield run


@contextmanager
def until_killed(process: subprocess.Popen[str], *readers: Callable[[], None]) -> Iterator[None]:
    """Run each reader of the process in a thread; kill the process at the end of the block."""
    threads = [threading.Thread(target=read, daemon=True) for read in readers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()


def _read_lines(run: ProcessUnderTest) -> None:
    assert run.process.stdout
    for text in run.process.stdout:
        if not text.endswith("\n"):  # cut off by SIGKILL
            return
        line = json.loads(text)
        if line["type"] == "event":
            run.events.append(line)
        else:
            run.ages_ms.append(line["age_ms"])
            run.inferences_ms.append(line["inference_ms"])
            run.at_s.append(time.monotonic())


def _read_log(run: ProcessUnderTest) -> None:
    assert run.process.stderr
    for text in run.process.stderr:
        run.log_lines.append(text.rstrip())


def _sample(run: ProcessUnderTest) -> None:
    proc = Path("/proc") / str(run.process.pid)
    while run.process.poll() is None:
        try:
            pages = int((proc / "statm").read_text().split()[1])
            io = dict(line.split(": ") for line in (proc / "io").read_text().splitlines())
        except (OSError, IndexError):  # the process is exiting
            return
        run.samples.append(Sample(time.monotonic(), pages * PAGE_BYTES, int(io["write_bytes"])))
        time.sleep(1)


def run_edge(*arguments: str | Path) -> str:
    """Run `fireseg-edge` with these arguments to its end and return its output. Raise RuntimeError if it fails."""
    command = [*EDGE, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"fireseg-edge {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
