"""float32 ONNX -> ncnn by pnnx: TARGET.param, and TARGET.bin beside it.

    python -m benchmarks.peers.conversions.ncnn_float SOURCE.onnx HEIGHT WIDTH TARGET.param

The input is called `in0`, the output `out0`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DEPTH_FIRST = 1  # PixelShuffle's mode of ONNX's default order, which is TensorFlow's: a block's pixels apart in depth


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
        described = (Path(folder) / "model.pnnx.param").read_text()
    target.write_text(with_pixel_shuffles(target.read_text(), described))


def with_pixel_shuffles(param: str, described: str) -> str:
    """Name each depth-to-space as ncnn does: pnnx hands on ONNX's name for it, which ncnn does not know.

    Args:
        param: the ncnn network.
        described: pnnx' own description of it, which alone tells the size of the blocks.
    """
    blocks = dict(re.findall(r"^DepthToSpace +(\S+) .*?\bblocksize=(\d+)", described, re.MULTILINE))
    if unlike := re.search(r"^DepthToSpace .*\bmode=(?!DCR)\S*", described, re.MULTILINE):
        raise RuntimeError(f"expected blocks in TensorFlow's order, got {unlike[0]}")

    def renamed(match: re.Match[str]) -> str:
        if match["name"] not in blocks:
            raise RuntimeError(f"pnnx does not say how large the blocks of {match['name']} are")
        return f"PixelShuffle {match['name']} {match['blobs']} 0={blocks[match['name']]} 1={DEPTH_FIRST}"

    return re.sub(r"^DepthToSpace +(?P<name>\S+) +(?P<blobs>1 1 \S+ \S+)[^\n]*", renamed, param, flags=re.MULTILINE)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
