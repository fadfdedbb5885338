"""Runs inside the emulated Pi: one network under one runtime, frame after frame, reading the counter in between.

    python -m benchmarks.pi.counted ADAPTER MODEL PRECISION FRAMES

The adapters are those of the peers. The first frames do not count: they include packing weights and choosing kernels.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import sys
from pathlib import Path

import numpy as np

READ_COUNTER_FD = -20000  # see count_instructions.c
FIRST_FRAMES = 2
THREADS = 1


def read_counter() -> None:
    """Make the emulator write its instruction count."""
    with contextlib.suppress(OSError):
        os.close(READ_COUNTER_FD)


def main(adapter_name: str, model: str, precision: str, frames: int) -> None:
    """Print the runtime's version, and read the counter before the first counted frame and after each."""
    adapter = importlib.import_module(f"benchmarks.peers.adapters.{adapter_name}")
    network = adapter.load(Path(model), THREADS, precision)
    print(adapter.PACKAGE, importlib.metadata.version(adapter.PACKAGE), flush=True)
    network.put(np.full((int(os.environ["HEIGHT"]), int(os.environ["WIDTH"]), 3), 127, np.uint8))
    for _ in range(FIRST_FRAMES):
        network.invoke()
    read_counter()
    for _ in range(frames):
        network.invoke()
        read_counter()
    sys.stdout.flush()
    os._exit(0)  # some runtimes crash in their destructors


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
