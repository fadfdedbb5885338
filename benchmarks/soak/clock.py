"""A wall clock that can be stepped for one process: a library of a few lines that is loaded before all others.

libfaketime cannot serve: told to leave the monotonic clock alone, it fails each sleep of Python 3.11 and later.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER = "cc"
LIBRARY = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void) {
    char text[32] = {0};
    int file = open(getenv("WALL_CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset_s();
    return failed;
}
"""


class WallClock:
    """Tells processes that are started with its `environment` what time it is; `step` while they run.

    Raises `FileNotFoundError` where there is no compiler.
    """

    def __init__(self, folder: Path) -> None:
        if not shutil.which(COMPILER):
            raise FileNotFoundError(f"there is no C compiler {COMPILER}")
        self._offset, library = folder / "offset", folder / "wall_clock.so"
        self.step(0)
        command = [COMPILER, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=LIBRARY, text=True, check=True)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(self._offset)}

    def step(self, to_s: int) -> None:
        """Set the clock off by so many seconds from the true time."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(to_s))
        new.rename(self._offset)
