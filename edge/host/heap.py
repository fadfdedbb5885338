"""How the C library's allocator (glibc's malloc) keeps memory: little of it in a run, all of it in a training."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
MAX_INT = 2**31 - 1
TRAINING_PAD_BYTES = 64 * 1024**2


def share_heap() -> None:
    """Let all threads allocate from one heap. With a heap for each, a run takes 6 MB more and no less CPU."""
    _set({M_ARENA_MAX: 1})


def keep_freed_memory() -> None:
    """Reuse freed memory instead of returning it to the system.

    A training step allocates and frees hundreds of MB. If each goes back, the kernel clears every page again at the
    next step.
    """
    _set({M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: MAX_INT, M_TOP_PAD: TRAINING_PAD_BYTES})


def _set(values: dict[int, int]) -> None:
    with suppress(OSError, AttributeError):  # other C libraries
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in values.items():
            mallopt(parameter, value)
