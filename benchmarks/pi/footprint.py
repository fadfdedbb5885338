"""What the project takes on a Pi: bytes on disk, and what it costs to start."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from benchmarks.pi.counted import ASKING_DESCRIPTOR
from benchmarks.pi.cpus import Cpu
from benchmarks.pi.system import System, last_words
from edge.errors import UserError

# Asked before and after: the interpreter's own start is not ours.
IMPORT = f"""
import contextlib, os
def ask():
    with contextlib.suppress(OSError):
        os.close({ASKING_DESCRIPTOR})
ask()
import edge.model.segmenter
edge.model.segmenter.find_runtime()
ask()
"""


def footprint(system: System, cpu: Cpu) -> dict[str, Any]:
    """Size of the environment that `pip install` makes, its packages, and instructions to import what segments."""
    inside = system.environment("fireseg")
    python = f"{inside}/bin/python"
    _run(system, cpu, python, "-c", IMPORT)  # the first import writes the byte code
    started_s = time.monotonic()
    _run(system, cpu, python, "-c", IMPORT, counting=True)
    before, after = system.counts()
    helped = _run(system, cpu, python, f"{inside}/bin/fireseg-edge", "--help")
    if "fire" not in helped:
        raise UserError(f"fireseg-edge --help says nothing on {cpu.name}", f"{helped[:80]!r}")
    return {
        "debian": system.suite,
        "python": system.python,
        "size_bytes": size_bytes(system.root / inside.lstrip("/")),
        "packages": installed(system.root / inside.lstrip("/")),
        "import_instructions": after - before,
        "import_emulated_seconds": round(time.monotonic() - started_s, 1),
    }


def size_bytes(folder: Path) -> int:
    """Of all files below a folder; links take nothing."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def installed(environment: Path) -> list[str]:
    """The packages in a virtual environment, with their versions."""
    found = environment.glob("lib/python*/site-packages/*.dist-info")
    return sorted(re.sub(r"-(?=[^-]+$)", " ", path.name.removesuffix(".dist-info")) for path in found)


def _run(system: System, cpu: Cpu, *command: str, counting: bool = False) -> str:
    done = system.run(cpu, *command, counting=counting)
    if done.returncode:
        raise UserError(f"{command[0]} failed on {cpu.name} under Debian {system.suite}", f"{last_words(done)}")
    return done.stdout
