"""Silence around chatty libraries. Apart from `edge.console`, since loading rich costs a camera loop 0.2 s.

TensorFlow, the converter and the interpreter write from C++ straight to the file descriptors, so redirecting
`sys.stdout` does not silence them; `quiet` redirects the descriptors.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet(*, keep_on_error: bool = False) -> Iterator[Path]:
    """Redirect stdout and stderr, also of C++ code and child processes, to a log file; yield its path.

    The log is deleted after the block, unless the block raised and `keep_on_error` is set.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    handle, name = tempfile.mkstemp(prefix="fireseg-", suffix=".log")
    saved = [os.dup(1), os.dup(2)]
    keep = False
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        yield Path(name)
    except BaseException:
        keep = keep_on_error
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in enumerate(saved, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(handle)
        if not keep:
            Path(name).unlink()
