"""Runs inside the emulated Pi: a network under one runtime, one frame after another, the counter asked in between.

    python -m benchmarks.pi.counted ADAPTER MODEL PRECISION FRAMES

The adapters are those of the peers. Whatever a runtime does once (packing weights, choosing kernels) falls into the
first frames, which do not count.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import sys
from pathlib import Path

import numpy as np

ASKING_DESCRIPTOR = -20000  # see count_instructions.c
FIRST_FRAMES = 2
THREADS = 1


def ask() -> None:
    """Have the emulator tell how many instructions have run."""
    with contextlib.suppress(OSError):
        os.close(ASKING_DESCRIPTOR)


def main(adapter_name: str, model: str, precision: str, frames: int) -> None:
    """Print the runtime's version, and ask before the first frame that counts and after each."""
    adapter = importlib.import_module(f"benchmarks.peers.adapters.{adapter_name}")
    network = adapter.load(Path(model), THREADS, precision)
    print(adapter.PACKAGE, importlib.metadata.version(adapter.PACKAGE), flush=True)
    network.put(np.full((int(os.environ["HEIGHT"]), int(os.environ["WIDTH"]), 3), 127, np.uint8))
    for _ in range(FIRST_FRAMES):
        network.invoke()
    ask()
    for _ in range(frames):
        network.invoke()
        ask()
    sys.stdout.flush()
    os._exit(0)  # some runtimes crash while they are torn down


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
