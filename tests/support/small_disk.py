"""A file system of a few megabytes, to be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.sinks.video import free_bytes


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A tmpfs mounted at `folder`. Skips the test where mounting is not allowed."""
    folder.mkdir()
    options = f"size={round(megabytes * 1024)}k"
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], stderr=subprocess.DEVNULL
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a file system to fill needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave_bytes: int = 0) -> None:
    """Fill a small disk."""
    with (folder / "filling").open("wb") as file:
        file.write(bytes(free_bytes(folder) - leave_bytes))
