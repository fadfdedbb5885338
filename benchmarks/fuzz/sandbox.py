"""Run a function in a forked process with bounds on memory and time, and say how it ended.

The caller has imported everything, so a trial costs milliseconds. It must have one thread: a lock that another thread
holds at the fork is never released in the child.
"""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

TIME_LIMIT_S = 15.0
DUMP_WAIT_S = 2.0
MEMORY_LIMIT_BYTES = 512 << 20
"""Bound on the growth of the peak of resident memory."""
HARD_LIMIT_BYTES = 4 << 30
"""Growth at which an allocation fails. Far above the bound: else code that catches a failed allocation would pass."""
FRAME = re.compile(r'File ".*?/(edge/(?!errors)[^"]+)", line \d+,? in (\S+)')
ERROR = re.compile(r"^([\w.]*(?:[Ee]rror|Exception))\b", re.MULTILINE)


class Ending(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CRASH = "crash"
    TRACEBACK = "traceback"
    HANG = "hang"
    MEMORY = "memory"
    OTHER = "other ending"
    """Another exit code than 0 and 2, or exit code 2 without an error line."""


@dataclass(frozen=True)
class Trial:
    """How one input ended."""

    ending: Ending
    peak_bytes: int
    """Growth of the resident memory."""
    stderr: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.ending not in (Ending.ACCEPTED, Ending.REFUSED)

    @property
    def symptom(self) -> str:
        """What distinguishes this failure: the ending, the error, and the innermost function of the code."""
        frames = FRAME.findall(self.stderr)
        # faulthandler writes the innermost frame first.
        where = " in {}: {}".format(*frames["most recent call first" not in self.stderr and -1]) if frames else ""
        errors = ERROR.findall(self.stderr) if self.ending is Ending.TRACEBACK else []
        return " ".join(filter(None, (self.ending, re.sub(r"\d+", "N", self.detail), *errors[-1:]))) + where


def run_trial(target: Callable[[], object], folder: Path, *, time_limit_s: float = TIME_LIMIT_S) -> Trial:
    """Run `target` in a child whose working directory is `folder`; it may end with SystemExit."""
    # Without the mapped files, which a fork does not inherit: a library that the child touches counts as growth.
    before_bytes, output = memory_bytes("RssAnon"), folder / "stderr"
    output.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run_child(target, folder)
    has_hung = not _ends(pid, time_limit_s)
    if has_hung:
        os.kill(pid, signal.SIGABRT)  # faulthandler writes where it hangs
        _ends(pid, DUMP_WAIT_S)
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # its own children too
    _, status, usage = os.wait4(pid, 0)
    stderr = output.read_text(errors="replace")
    peak_bytes = max(0, usage.ru_maxrss * 1024 - before_bytes)
    if has_hung:
        return Trial(Ending.HANG, peak_bytes, stderr)
    return classify(os.waitstatus_to_exitcode(status), peak_bytes, stderr)


def classify(code: int, peak_bytes: int, stderr: str) -> Trial:
    """Return the outcome of a process that ended with this code; a negative one is a signal."""
    lines = stderr.splitlines()
    if code < 0:
        ending, detail = Ending.CRASH, signal.Signals(-code).name
    elif "Traceback (most recent call last)" in stderr:
        ending, detail = Ending.TRACEBACK, ""
    elif peak_bytes > MEMORY_LIMIT_BYTES:
        ending, detail = Ending.MEMORY, ""
    elif code == 0:
        ending, detail = Ending.ACCEPTED, ""
    elif code == 2 and any(line.startswith("error: ") for line in lines):  # C libraries and the log add lines
        ending, detail = Ending.REFUSED, ""
    else:
        ending, detail = Ending.OTHER, f"exit code {code}: {' '.join(lines[-1:])[:80]}"
    return Trial(ending, peak_bytes, stderr, detail)


def memory_bytes(field: str, pid: int | str = "self") -> int:
    """Return a size in /proc/PID/status, such as VmRSS."""
    return 1024 * int(Path(f"/proc/{pid}/status").read_text().partition(f"{field}:")[2].split()[0])


def limit_memory(pid: int) -> None:
    """Let writable private memory of a process grow by 4 GiB: its code and file mappings do not count."""
    most_bytes = memory_bytes("VmData", pid) + HARD_LIMIT_BYTES
    resource.prlimit(pid, resource.RLIMIT_DATA, (most_bytes, most_bytes))


def _run_child(target: Callable[[], object], folder: Path) -> NoReturn:
    """Run `target` with its output in files, and end the process."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit_memory(os.getpid())
        tempfile.tempdir = str(folder)
        faulthandler.enable(os.dup(2))  # the edge redirects descriptor 2 while it loads a model
        try:
            target()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
            if isinstance(ending.code, str):
                print(ending.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _ends(pid: int, timeout_s: float) -> bool:
    """Return whether the process ends in time. It stays a zombie."""
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)
