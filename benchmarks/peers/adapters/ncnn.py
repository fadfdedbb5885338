"""ncnn, float only. `model` is the .param, with its .bin beside it. Input: float32 CHW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ncnn  # type: ignore[import-not-found, unused-ignore]
import numpy as np

from benchmarks.peers.worker import Network, to_nchw

PACKAGE = "ncnn"
INPUT, OUTPUT = "in0", "out0"  # named by pnnx


def load(model: Path, threads: int, precision: str) -> Network:
    if precision == "float16" and not ncnn.cpu_support_arm_asimdhp():
        raise RuntimeError("ncnn computes in float16 on ARMv8.2 only: here it would fall back to float32")
    net = ncnn.Net()
    net.opt.num_threads = threads
    if precision == "float32":
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(model)) or net.load_model(str(model.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn could not load {model.name}")
    frame: list[Any] = [None]

    def put(rgb: Any) -> None:
        floats = to_nchw(rgb)[0]  # kept alive until cloned: a Mat borrows memory
        frame[0] = ncnn.Mat(floats).clone()

    def invoke() -> Any:
        extractor = net.create_extractor()
        extractor.input(INPUT, frame[0])
        error_code, output = extractor.extract(OUTPUT)
        if error_code:
            raise RuntimeError(f"ncnn could not compute {OUTPUT} (code {error_code})")
        return output

    return Network(put, invoke, take=lambda output: np.squeeze(np.array(output)))
