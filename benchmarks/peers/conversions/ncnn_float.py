"""float32 ONNX -> ncnn by pnnx: TARGET.param, and TARGET.bin beside it.

    python -m benchmarks.peers.conversions.ncnn_float SOURCE.onnx HEIGHT WIDTH TARGET.param

The input is called `in0`, the output `out0`.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def convert(source: Path, height: int, width: int, target: Path) -> None:
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        raise RuntimeError("pnnx is not installed")
    # The program itself: the package's Python side would import PyTorch, which an ONNX has no need of.
    program = Path(found.origin).with_name("pnnx")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source, Path(folder) / "model.onnx")  # pnnx writes a dozen files beside what it reads
        # fp16=0 keeps weights whole: what is quantised from them must not be rounded twice.
        command = [str(program), "model.onnx", f"inputshape=[1,3,{height},{width}]", "fp16=0"]
        subprocess.run(command, cwd=folder, check=True)
        for suffix in (".param", ".bin"):
            made = Path(folder) / f"model.ncnn{suffix}"
            if not made.is_file():
                raise RuntimeError(f"pnnx wrote no {made.name}")
            shutil.copy(made, target.with_suffix(suffix))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
