"""`fireseg-train` typed in, and how it ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CHATTER = re.compile(
    r"oneDNN|cuda|tensorflow|absl|XNNPACK|WARNING|I0000|E0000|W0000|UserWarning|Traceback", re.IGNORECASE
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def type_in(cwd: Path, *arguments: object) -> Done:
    """Run the command in a process of its own, as from a shell."""
    environment = {key: value for key, value in os.environ.items() if key != "FIRESEG_DIR"} | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from train.cli import run; run()", *map(str, arguments)],
        check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


Here = Callable[..., Done]


def refused(done: Done) -> list[str]:
    """The lines of a refusal, without their beginning."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert lines, done.err
    assert done.err.rstrip().splitlines()[-1].startswith("error: ")
    return [line.removeprefix("error: ") for line in lines]


def leftovers(folder: Path) -> list[str]:
    """Files of unfinished writing."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]
