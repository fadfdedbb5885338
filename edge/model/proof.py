"""Prove a model before a running camera loop takes it: in a child process, since a bad one may abort or hang.

The child gets the very bytes that would run, may take a limited time and memory, and segments three frames.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import math
import os
import platform
import resource
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO

from edge.child import run_python
from edge.errors import UserError, reason_of
from edge.model.probe import make_probe
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter

PROOF_TIMEOUT_S = 60.0
PROOF_BYTES = 512 << 20
"""Memory for the interpreter, above that of the imported libraries and four times the model."""
CHILD = "from edge.model.proof import answer_parent; answer_parent()"
REMEDY = "export the model again, or copy it again"


def flame_pixels(segmenter: Segmenter) -> int:
    """Return the fire pixels in the probe's flames. Raises `UserError` if inference fails."""
    return int(segmenter.mask(make_probe().flames).sum())


def prove(path: Path, data: bytes, *, timeout_s: float = PROOF_TIMEOUT_S, memory_bytes: int = PROOF_BYTES) -> int:
    """Return `flame_pixels` of a model, as a child process finds it. Raises `UserError` if the child fails.

    Args:
        path: of the model, for errors.
        data: the bytes of the model file.
    """
    try:
        done = run_python(CHILD, str(path), str(timeout_s), str(memory_bytes), data=data, timeout_s=timeout_s)
        return _read_answer(path, done.returncode, done.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} was not proven within {timeout_s:g} s", REMEDY) from None
    except (OSError, ValueError) as error:
        problem = f"{path} could not be proven ({reason_of(error)})"
        raise UserError(problem, "free some memory, and reload again") from error


def prove_in_fork(path: Path, data: bytes, *, runtime: str | None = None, memory_bytes: int = PROOF_BYTES) -> int:
    """Return what `prove` returns, in a tenth of the time: the child is a fork of this process.

    Call it at the start of a command, when only OpenBLAS's threads and the log's run: a fork is safe beside both.
    """
    find_runtime(runtime)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        reader, writer = os.pipe()  # the answer is shorter than its buffer
        if (pid := os.fork()) == 0:
            code = 1
            try:
                faulthandler.disable()  # a crash is an answer
                logging.disable()  # another thread may have held the lock of a handler
                warnings.simplefilter("ignore")
                for descriptor in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
                signal.alarm(math.ceil(PROOF_TIMEOUT_S))
                _write_answer(path, data, memory_bytes, os.fdopen(writer, "w"), runtime)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            output = file.read()
        _, status = os.waitpid(pid, 0)
        return _read_answer(path, os.waitstatus_to_exitcode(status), output)
    except (OSError, ValueError) as error:
        problem = f"{path} could not be proven ({reason_of(error)})"
        raise UserError(problem, "free some memory, and start again") from error


def answer_parent() -> None:
    """Prove the model on stdin and print the answer as JSON; the child process."""
    path, timeout_s, memory_bytes = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    signal.alarm(math.ceil(timeout_s))  # the parent may end before
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter prints, too
    data = sys.stdin.buffer.read()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory is short, not the run
    with suppress(OSError):
        os.nice(10)
    find_runtime()  # its libraries come before the limit
    _write_answer(path, data, memory_bytes, out)


def _write_answer(path: Path, data: bytes, memory_bytes: int, out: IO[str], runtime: str | None = None) -> None:
    limit_memory(memory_bytes + 4 * len(data))
    try:
        segmenter, probe = Segmenter(path, threads=1, runtime=runtime, data=data), make_probe()
        for frame in (probe.noise, probe.room):
            segmenter.mask(frame)
        answer: dict[str, object] = {"flame_pixels": flame_pixels(segmenter)}
    except UserError as error:
        answer = {"problem": error.problem, "remedy": error.remedy}
    except Exception as error:  # any kind: a model is data, and this process exists to find out
        answer = {"problem": f"{path} cannot be used ({reason_of(error)})", "remedy": REMEDY}
    with out:
        json.dump(answer, out)


def _read_answer(path: Path, code: int, output: bytes) -> int:
    """Return the fire pixels in the child's answer. Raises `UserError`; ValueError if it is not JSON."""
    answer = json.loads(output) if code == 0 else {}
    if "flame_pixels" in answer:
        return int(answer["flame_pixels"])
    if "problem" in answer:
        raise UserError(answer["problem"], answer["remedy"])
    if code == -signal.SIGALRM:
        raise UserError(f"{path} was not proven in time", REMEDY)
    if code == -signal.SIGILL:
        problem = f"{path} crashes the interpreter: it uses an instruction that this processor lacks (SIGILL)"
        remedy = f"reinstall the runtime's wheel for {platform.machine()}; if it still fails, test the memory"
        raise UserError(problem, remedy)
    signal_name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    raise UserError(f"{path} crashes the interpreter ({signal_name})", REMEDY)


def limit_memory(more_bytes: int) -> None:
    """Refuse this process more than `more_bytes` beyond what it has now."""
    with suppress(OSError, ValueError):  # a sandbox may forbid limits; without /proc there is no size to start from
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit_bytes = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
