"""ncnn, float only. `model` is the .param, with its .bin beside it. Input: float32 CHW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ncnn  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import numpy.typing as npt

from benchmarks.peers.worker import to_nchw

PACKAGE = "ncnn"
INPUT, OUTPUT = "in0", "out0"  # named by pnnx


class NcnnNetwork:
    def __init__(self, net: Any) -> None:
        self._net = net
        self._map: Any = None

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        floats = to_nchw(frame)[0]  # kept alive until cloned: a Mat borrows memory
        self._frame = ncnn.Mat(floats).clone()

    def invoke(self) -> None:
        extractor = self._net.create_extractor()
        extractor.input(INPUT, self._frame)
        error_code, self._map = extractor.extract(OUTPUT)
        if error_code:
            raise RuntimeError(f"ncnn could not compute {OUTPUT} (code {error_code})")

    def take(self) -> npt.NDArray[Any]:
        return np.squeeze(np.array(self._map))


def load(model: Path, threads: int, precision: str) -> NcnnNetwork:
    if precision == "float16" and not ncnn.cpu_support_arm_asimdhp():
        raise RuntimeError("ncnn computes in float16 on ARMv8.2 only: here it would fall back to float32")
    net = ncnn.Net()
    net.opt.num_threads = threads
    if precision == "float32":
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(model)) or net.load_model(str(model.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn could not load {model.name}")
    return NcnnNetwork(net)
