"""float32 ONNX -> ncnn by pnnx: TARGET.param, and TARGET.bin beside it.

    python -m benchmarks.peers.conversions.ncnn_float SOURCE.onnx HEIGHT WIDTH TARGET.param

Input and output are named `in0` and `out0`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DEPTH_FIRST = 1  # PixelShuffle's mode for ONNX's default order (DCR), which is TensorFlow's


def convert(source: Path, height: int, width: int, target: Path) -> None:
    spec = importlib.util.find_spec("pnnx")
    assert spec and spec.origin
    # The binary itself: the Python package imports PyTorch.
    program = Path(spec.origin).with_name("pnnx")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source, Path(folder) / "model.onnx")  # pnnx writes a dozen files beside its source
        command = [str(program), "model.onnx", f"inputshape=[1,3,{height},{width}]", "fp16=0"]  # float32 weights
        subprocess.run(command, cwd=folder, check=True)
        for suffix in (".param", ".bin"):
            shutil.copy(Path(folder) / f"model.ncnn{suffix}", target.with_suffix(suffix))
        description = (Path(folder) / "model.pnnx.param").read_text()
    target.write_text(with_pixel_shuffles(target.read_text(), description))


def with_pixel_shuffles(param: str, description: str) -> str:
    """Rename each DepthToSpace, which pnnx copies from ONNX, to ncnn's PixelShuffle.

    Args:
        param: the ncnn network.
        description: pnnx's own file, which holds the block sizes.
    """
    blocks = dict(re.findall(r"^DepthToSpace +(\S+) .*?\bblocksize=(\d+)", description, re.MULTILINE))
    if mismatch := re.search(r"^DepthToSpace .*\bmode=(?!DCR)\S*", description, re.MULTILINE):
        raise RuntimeError(f"expected mode DCR, got {mismatch[0]}")

    def renamed(match: re.Match[str]) -> str:
        return f"PixelShuffle {match['name']} {match['blobs']} 0={blocks[match['name']]} 1={DEPTH_FIRST}"

    return re.sub(r"^DepthToSpace +(?P<name>\S+) +(?P<blobs>1 1 \S+ \S+)[^\n]*", renamed, param, flags=re.MULTILINE)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
