"""Run a Python statement in a child process, which may crash, hang or use much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parents[1]


def run_python(statement: str, *arguments: str, data: bytes, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Return the finished process of a statement, which gets `data` on stdin and the arguments in `sys.argv`.

    Its stdout is captured, its stderr discarded. Raises `OSError` if it cannot start, and TimeoutExpired.
    """
    # The child runs this very code, wherever it was started.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CODE), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-P", "-c", statement, *arguments], input=data, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=environment, timeout=timeout_s, check=False,
    )  # fmt: skip
