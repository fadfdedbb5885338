"""float32 ONNX -> int8 ONNX by ONNX Runtime's static quantization: QDQ, weights per channel.

    python -m benchmarks.peers.conversions.onnx_int8 SOURCE.onnx CALIBRATION.npy ACTIVATIONS TARGET.onnx

ACTIVATIONS is uint8 or int8: see `benchmarks.peers.convert`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import (  # type: ignore[import-not-found, unused-ignore]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import (  # type: ignore[import-not-found, unused-ignore]
    quant_pre_process,
)

from benchmarks.peers.worker import to_nchw

ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


class Frames(CalibrationDataReader):
    """Iterate over the calibration frames."""

    def __init__(self, frames: npt.NDArray[np.uint8]) -> None:
        self._frames: Iterator[npt.NDArray[np.uint8]] = iter(frames)

    def get_next(self) -> dict[str, Any] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"frame": to_nchw(frame)}


def convert(source: Path, calibration: Path, activations: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Frames(np.load(calibration)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=ACTIVATIONS[activations],
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
