"""A file system of a few megabytes, to be filled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.soak import fault_rig
from edge.sinks.video import free_bytes


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A tmpfs mounted at `folder`. Skips the test where mounting is not allowed."""
    with fault_rig.small_disk(folder, round(megabytes * (1 << 20))) as disk:
        if not os.path.ismount(disk):
            pytest.skip("mounting a file system to fill needs root")
        yield disk


def fill(folder: Path, *, leave_bytes: int = 0) -> None:
    """Fill a small disk."""
    with (folder / "filling").open("wb") as file:
        file.write(bytes(free_bytes(folder) - leave_bytes))
