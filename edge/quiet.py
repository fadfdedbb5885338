"""Keeps the chatter of TensorFlow, the converter and the interpreter away from the terminal.

They write from C++ to the file descriptors themselves, so that redirecting `sys.stdout` is not enough.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console


@contextmanager
def quiet(*, keep_on_error: bool = False) -> Iterator[Path]:
    """Send everything written to stdout and stderr into a file; gives its path.

    The file is gone after the block, unless the block raised and `keep_on_error` asks for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    handle, name = tempfile.mkstemp(prefix="fireseg-", suffix=".log")
    saved = [os.dup(1), os.dup(2)]
    kept = False
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        yield Path(name)
    except BaseException:
        kept = keep_on_error
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(handle)
        if not kept:
            Path(name).unlink()


def terminal() -> Console:
    """A console on stderr that goes on speaking inside `quiet`, for progress bars."""
    return Console(file=os.fdopen(os.dup(2), "w", buffering=1))
