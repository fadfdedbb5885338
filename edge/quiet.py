"""Silence around chatty libraries. Apart from `edge.console`, since loading rich costs a camera loop 0.2 s.

TensorFlow, the converter and the interpreter write from C++ straight to the file descriptors, so redirecting
`sys.stdout` does not silence them; `silence` and `quiet` redirect the descriptors, for all threads of the process.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def silence() -> Iterator[None]:
    """Discard what C++ code writes to stdout and stderr. Needs no disk."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with _redirected(null):
            yield
    finally:
        os.close(null)


@contextmanager
def quiet(*, keep_on_error: bool = False) -> Iterator[Path]:
    """Redirect stdout and stderr, also of C++ code and child processes, to a log file; yield its path.

    The log is deleted after the block, unless the block raised and `keep_on_error` is set.
    """
    handle, name = tempfile.mkstemp(prefix="fireseg-", suffix=".log")
    keep = False
    try:
        with _redirected(handle):
            yield Path(name)
    except BaseException:
        keep = keep_on_error
        raise
    finally:
        os.close(handle)
        if not keep:
            Path(name).unlink()


def open_standard_streams() -> None:
    """Open /dev/null in place of stdin, stdout and stderr if the process was started without them.

    Otherwise the next socket or file would get their descriptors, and everything printed.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            setattr(sys, name, os.fdopen(descriptor, mode, errors="backslashreplace", closefd=False))


@contextmanager
def _redirected(handle: int) -> Iterator[None]:
    """Redirect stdout and stderr to a file descriptor."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in enumerate(saved, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
