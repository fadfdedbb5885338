"""Run a command line and see how it ended: in this process for `fireseg-edge`, in its own for `fireseg-train`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from tests.support.waiting import TIMEOUT_S

CHATTER = re.compile(
    r"oneDNN|cuda|tensorflow|absl|XNNPACK|WARNING|I0000|E0000|W0000|UserWarning|Traceback", re.IGNORECASE
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Here = Callable[..., Done]


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Let a run in this process end in as long as a busy machine takes: it gives up what it has not written in time."""
    from edge.sinks.clips import Clips
    from edge.sinks.terminal import Terminal

    with (
        mock.patch("edge.sinks.terminal.LOG_GRACE_S", TIMEOUT_S),
        mock.patch("edge.sinks.stream_writer.LOG_GRACE_S", TIMEOUT_S),
        mock.patch.dict(Terminal.__init__.__kwdefaults__, grace_s=TIMEOUT_S),
        mock.patch.dict(Clips.__init__.__kwdefaults__, grace_s=TIMEOUT_S),
    ):
        yield


def fireseg_edge(*arguments: object, cwd: Path) -> Done:
    """Run `fireseg-edge` in this process, with the exit codes and errors of the real entry point."""
    from edge.cli import app
    from edge.errors import run_app

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {"COLUMNS": "200", "NO_COLOR": "1"}),
        warnings.catch_warnings(),  # restores what the command sets
        unhurried(),
    ):
        try:
            run_app(lambda: app(list(map(str, arguments)), prog_name="fireseg-edge"))
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


def type_in(cwd: Path, *arguments: object) -> Done:
    """Run `fireseg-train` in its own process, as from a shell."""
    environment = {key: value for key, value in os.environ.items() if key != "FIRESEG_DIR"} | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from train.cli import run; run()", *map(str, arguments)],
        check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=1800,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def refused(done: Done) -> list[str]:
    """Return the error lines of a command that ended with exit code 2, without their prefix."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert lines, done.err
    assert done.err.rstrip().splitlines()[-1].startswith("error: ")
    return [line.removeprefix("error: ") for line in lines]


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]
