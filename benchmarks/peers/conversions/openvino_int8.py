"""float32 ONNX -> int8 OpenVINO IR by NNCF's post-training quantization.

python -m benchmarks.peers.conversions.openvino_int8 SOURCE.onnx CALIBRATION.npy TARGET.xml
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import openvino  # type: ignore[import-not-found, unused-ignore]

from benchmarks.peers.worker import to_nchw


def convert(source: Path, calibration: Path, target: Path) -> None:
    frames = np.load(calibration)
    quantized = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(frames, to_nchw),
        preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: as fast as symmetric, closer to the float
        subset_size=len(frames),
    )
    openvino.save_model(quantized, target, compress_to_fp16=False)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
