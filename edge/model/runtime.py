"""Which TFLite interpreter there is: ai-edge-litert, else tflite-runtime, else TensorFlow's own.

ai-edge-litert is the successor of tflite-runtime and by far the fastest; tflite-runtime is all that 32-bit ARM has;
TensorFlow serves where nothing else is installed.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge.console import quiet
from edge.errors import UserError

# Module that holds `Interpreter`, and the package that brings it.
RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}


@dataclass(frozen=True)
class Runtime:
    """An importable interpreter. `name` is its pip package."""

    name: str
    version: str
    module: Any

    def interpreter(self, model: bytes, threads: int) -> Any:
        """Make an interpreter of a flatbuffer, its tensors allocated. Raises ValueError or RuntimeError."""
        # The delegate announces itself on stderr, and TensorFlow warns that its own interpreter will go.
        with quiet(), warnings.catch_warnings(action="ignore"):
            interpreter = self.module.Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        return interpreter

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cores_for(threads: int | None) -> int:
    """How many threads to compute on: those asked for, else one a core. Raises `UserError` for fewer than one."""
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads", "expected at least 1")
    return threads or os.cpu_count() or 1


def find_runtime(wanted: str | None = None) -> Runtime:
    """The best runtime installed, or the one named. Raises `UserError` where there is none."""
    if wanted is not None and wanted not in RUNTIMES:
        raise UserError(f"there is no runtime {wanted!r}", f"expected one of {', '.join(RUNTIMES)}")
    for name in [wanted] if wanted else RUNTIMES:
        module_name, package = RUNTIMES[name]
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            logging.getLogger(__name__).debug("%s: %s", module_name, error)
            continue
        try:
            return Runtime(package, version(package), module)
        except PackageNotFoundError:  # installed under another name, such as tensorflow-cpu
            return Runtime(package, "unknown version", module)
    raise UserError(no_runtime_message(wanted))


def no_runtime_message(wanted: str | None) -> str:
    """What to install on this machine."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    machine = platform.machine()
    if wanted:
        return f"runtime {wanted} is not installed: run `pip install {RUNTIMES[wanted][1]}`"
    if machine in ("armv7l", "armv6l"):
        return (
            f"no TFLite interpreter is installed, and Python {python} on {machine} has none newer than tflite-runtime, "
            "which needs Python 3.11 at most: use a 64-bit Raspberry Pi OS, or the 32-bit Bookworm one with Python 3.11"
        )
    return f"no TFLite interpreter is installed for Python {python} on {machine}: run `pip install ai-edge-litert`"
