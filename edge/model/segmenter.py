"""Frame -> probability map, by a TFLite model; for the int8 model, bytes from end to end.

The frame is resized straight into the input tensor and the output tensor is the map: no float arithmetic and no
allocation per frame. Float models and int8 models with another quantisation are served too, by one conversion each.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Frame, Map
from edge.model.card import Card, split_model
from edge.model.preprocess import probability_to_u8, to_model_input
from edge.model.runtime import cores_for, find_runtime

DEFAULT_THRESHOLD = 0.5
OUTPUT_STEPS = 256  # the map's unit is 1/256


class Segmenter:
    """A loaded model. Not thread-safe: one frame at a time.

    Args:
        model_path: a `.tflite`, with a card or without.
        threads: cores to compute on; all by default.
        runtime: "litert", "tflite-runtime" or "tensorflow"; the best one installed by default.

    Raises `UserError` where the model cannot be served.
    """

    def __init__(self, model_path: str | Path, *, threads: int | None = None, runtime: str | None = None) -> None:
        path = Path(model_path)
        self.threads = cores_for(threads)
        flatbuffer, card = split_model(path)
        self.card: Card | None = card
        self.runtime = find_runtime(runtime)
        try:
            self._interpreter = self.runtime.interpreter(flatbuffer, self.threads)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{path} could not be loaded by {self.runtime} ({error})", "export the model again"
            ) from error
        if card is None:
            warnings.warn(
                f"{path} carries no card: RGB frames in 0..255 and threshold {DEFAULT_THRESHOLD} are assumed, "
                "with its tensors' own quantisation",
                stacklevel=2,
            )
        input_, output = self._one_of("input", path), self._one_of("output", path)
        _, self.height, self.width, _ = _shape(input_)
        self._read_input = self._interpreter.tensor(input_["index"])
        self._read_output = self._interpreter.tensor(output["index"])
        self._frame = np.empty((self.height, self.width, 3), np.uint8)
        self._map = np.empty((self.height, self.width), np.uint8)
        self._input_dtype = np.dtype(input_["dtype"])
        self._output_table = _output_table(output)
        self._check_shapes(input_, output, path)
        threshold = card["threshold"] if card else DEFAULT_THRESHOLD
        self.threshold_u8 = min(math.ceil(threshold * OUTPUT_STEPS), OUTPUT_STEPS - 1)
        """Fire is where the map is at least this."""

    def __call__(self, frame: Frame) -> Map:
        """RGB `uint8` H x W x 3 of any size -> `uint8` (height, width), probability in steps of 1/256.

        The map is the segmenter's own buffer and is overwritten by the next call: copy it to keep it.
        """
        self.load(frame)
        self.invoke()
        return self.result()

    def load(self, frame: Frame) -> None:
        """Resize the frame into the input tensor."""
        if self._input_dtype == np.uint8:
            to_model_input(frame, self.height, self.width, out=self._read_input()[0])
            return
        to_model_input(frame, self.height, self.width, out=self._frame)
        if self._input_dtype == np.int8:
            # The same bytes, 128 lower: the whole range of the tensor is the whole range of the frame.
            np.bitwise_xor(self._frame, 0x80, out=self._read_input()[0].view(np.uint8))
        else:
            np.copyto(self._read_input()[0], self._frame)

    def invoke(self) -> None:
        """Run the network on what was loaded."""
        self._interpreter.invoke()

    def result(self) -> Map:
        """The map of the last invocation, in the segmenter's own buffer."""
        output = self._read_output()[0, :, :, 0]
        if output.dtype.kind == "f":
            np.copyto(self._map, probability_to_u8(output))
        elif self._output_table is None:
            np.copyto(self._map, output)
        else:
            cv2.LUT(output.view(np.uint8), self._output_table, dst=self._map)
        return self._map

    def mask(self, frame: Frame) -> npt.NDArray[np.bool_]:
        """Where the frame burns, at the model's size: a new boolean (height, width)."""
        return self(frame) >= self.threshold_u8

    def _one_of(self, kind: str, path: Path) -> dict[str, Any]:
        details = getattr(self._interpreter, f"get_{kind}_details")()
        if len(details) != 1:
            raise UserError(f"{path} has {len(details)} {kind}s", "expected one, as a segmentation model of ours has")
        detail: dict[str, Any] = details[0]
        dtype, shape = np.dtype(detail["dtype"]), _shape(detail)
        if dtype not in (np.uint8, np.int8, np.float32) or len(shape) != 4:
            raise UserError(
                f"{path} has the {kind} {dtype} {shape}", "expected uint8, int8 or float32 of shape (1, H, W, channels)"
            )
        if kind == "output" and dtype.kind != "f" and not detail["quantization"][0]:
            raise UserError(
                f"{path} has the output {dtype} {shape} without a scale", "expected one, to know its bytes' probability"
            )
        return detail

    def _check_shapes(self, input_: dict[str, Any], output: dict[str, Any], path: Path) -> None:
        size = (self.height, self.width)
        if _shape(input_) != (1, *size, 3) or _shape(output) != (1, *size, 1):
            raise UserError(
                f"{path} maps {_shape(input_)} to {_shape(output)}",
                "expected an RGB frame (1, H, W, 3) to one probability for each of its pixels (1, H, W, 1)",
            )
        if self.card and (self.card["input"].get("height"), self.card["input"].get("width")) != size:
            raise UserError(
                f"the card in {path} speaks of {self.card['input'].get('width')}x{self.card['input'].get('height')} px "
                f"but its input is {self.width}x{self.height} px",
                "export the model again",
            )


def _shape(detail: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in detail["shape"])


def _output_table(output: dict[str, Any]) -> npt.NDArray[np.uint8] | None:
    """What each output byte means in steps of 1/256; None where the bytes mean just that."""
    dtype = np.dtype(output["dtype"])
    if dtype.kind == "f":
        return None
    scale, zero_point = output["quantization"]
    if dtype == np.uint8 and scale == 1 / OUTPUT_STEPS and zero_point == 0:
        return None
    stored = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    return np.clip((stored - zero_point) * scale * OUTPUT_STEPS, 0, 255).astype(np.uint8)
