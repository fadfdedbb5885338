"""What the locked packages contain and no command uses: the Debian package leaves it out.

Tests, type stubs and headers help only those who develop. LiteRT's compilers and accelerators serve other processors
than the CPU, on which the interpreter runs here. `tests/packaging/test_debian_tree.py` runs the commands on what is
left.
"""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from pathlib import Path

PACKAGES = ("backports-strenum", "flatbuffers", "ml-dtypes", "protobuf", "tqdm")
"""LiteRT requires them for its converter and compilers."""

FILES = (
    "bin/*",  # the programs that pip made: they name this machine's Python
    "*/tests/*", "*/test_data/*", "numpy/_core/_*_tests.*",
    "*.pyi", "*.pyx", "*.pxd", "*.h", "*.a", "*.sh", "*/.gitignore",
    "numpy/f2py/*", "numpy/distutils/*",  # build Fortran and C
    "cv2/data/*.xml",  # trained face detectors
    "pygments/lexers/[!_]*.py", "pygments/lexers/_*_builtins.py", "pygments/styles/[!_]*.py",  # colour source code
    "ai_edge_litert/libLiteRt*Accelerator.so", "ai_edge_litert/vendors/*",  # GPUs and neural processors
    "ai_edge_litert/aot/*", "ai_edge_litert/tools/*", "ai_edge_litert/tflite/*",  # convert and compile models
    "ai_edge_litert/*_pb2.py", "ai_edge_litert/schema_py_generated.py",
    "train/*", "export/*",  # this project's other commands, which need TensorFlow
)  # fmt: skip
"""Patterns of paths in site-packages; `*` also matches slashes."""


def remove_unused(site: Path) -> None:
    """Delete the files that no command uses, with their folders and their lines in RECORD."""
    for path in [path for path in site.rglob("*") if not path.is_dir()]:
        if any(fnmatchcase(str(path.relative_to(site)), pattern) for pattern in FILES):
            path.unlink()
    for folder in sorted((path for path in site.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    forget_missing(site)


def forget_missing(site: Path) -> None:
    """Delete the lines of RECORD whose files do not exist."""
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        present = [line for line in lines if (site / next(csv.reader([line]))[0]).exists()]
        record.write_text("".join(present), encoding="utf-8")
