"""Choose the TFLite interpreter: ai-edge-litert, else tflite-runtime.

ai-edge-litert is the successor and much faster; tflite-runtime is the only one with wheels for 32-bit ARM.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge.errors import UserError
from edge.quiet import silence

# Runtime name -> module with `Interpreter`, pip package.
RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}


@dataclass(frozen=True)
class Runtime:
    """An imported interpreter module. `name` is its pip package."""

    name: str
    version: str
    module: Any

    def interpreter(self, model: bytes, threads: int) -> Any:
        """Return an interpreter of a flatbuffer with allocated tensors. Raises ValueError or RuntimeError."""
        with silence():  # XNNPACK logs to stderr
            interpreter = self.module.Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        return interpreter

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cores_for(threads: int | None) -> int:
    """Return the number of threads to use, by default one per core. Raises `UserError` below 1."""
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads", "expected at least 1")
    return threads or os.cpu_count() or 1


def find_runtime(name: str | None = None) -> Runtime:
    """Return the runtime of this name, or the best one installed. Raises `UserError`."""
    if name is not None and name not in RUNTIMES:
        raise UserError(f"unknown runtime {name!r}", f"expected one of {', '.join(RUNTIMES)}")
    for candidate in [name] if name else RUNTIMES:
        module_name, package = RUNTIMES[candidate]
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error  # Ctrl-C while a compiled module was loading
            logging.getLogger(__name__).debug("%s: %s", module_name, error)
            continue
        try:
            return Runtime(package, version(package), module)
        except PackageNotFoundError:  # installed under another name, such as tflite-runtime-nightly
            return Runtime(package, "unknown version", module)
    if name:
        raise UserError(f"runtime {name} is not installed", f"run `pip install {RUNTIMES[name][1]}`")
    remedy = "run `pip install ai-edge-litert`"
    # Not the machine: a 32-bit Raspberry Pi OS may have a 64-bit kernel, which reports aarch64.
    bits = 64 if sys.maxsize > 1 << 32 else 32
    if bits == 32:
        remedy = (
            "use a 64-bit Raspberry Pi OS, or on the 32-bit Bookworm `pip install tflite-runtime` beside "
            "Debian's python3-numpy and python3-opencv, as in docs/installation.md"
        )
    python = f"{bits}-bit Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
    raise UserError(f"no TFLite interpreter is installed for {python}", remedy)
