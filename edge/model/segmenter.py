"""Segment frames with a TFLite model: frame in, probability map out.

The int8 model takes and returns bytes: no float arithmetic and no allocation per frame. Float models and other
quantizations need one conversion each.
"""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Frame, Map, Mask
from edge.model.card import Card, split_model
from edge.model.preprocess import probability_to_u8, to_model_input, to_model_mask
from edge.model.probe import make_probe
from edge.model.runtime import cores_for, find_runtime
from edge.model.shipped import find_model

DEFAULT_THRESHOLD = 0.5
OUTPUT_STEPS = 256  # the unit of the map is 1/256
ROUNDING = 0.01  # how far a probability may lie outside 0..1
XNNPACK, BUILTIN = "xnnpack", "builtin"
HELD = "reference to internal data"  # the interpreter's error while an array of its memory exists
HELD_TRIES, HELD_WAIT_S = 1000, 0.01
MIN_CONTRAST_GAIN = 0.2  # of flames in 0..1 over 0..255, for a model without a card to get frames in 0..1


class Segmenter:
    """A loaded segmentation model. Not thread-safe.

    Args:
        model_path: "base" or "small", which ship with this package, or a `.tflite`, with or without a card.
        threads: CPU threads; all cores by default.
        runtime: "litert" or "tflite-runtime"; the best one installed by default.
        data: the bytes of the file, if they were read before.

    Raises `UserError` if the model is not supported.

    Example:
        >>> segmenter = Segmenter("base")
        >>> mask = segmenter.mask(read_rgb(Path("photo.jpg")))
        >>> fire_share = mask.mean()
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        threads: int | None = None,
        runtime: str | None = None,
        data: bytes | None = None,
    ) -> None:
        self.path = path = find_model(model_path)
        self.threads = cores_for(threads)
        flatbuffer, self.card = split_model(path, data)
        self.runtime = find_runtime(runtime)
        try:
            self._interpreter = self.runtime.interpreter(flatbuffer, self.threads)
        except (ValueError, RuntimeError) as error:
            problem = f"{path} could not be loaded by {self.runtime} ({error})"
            raise UserError(problem, "export the model again") from error
        input_ = _only_tensor(self._interpreter.get_input_details(), "input", path)
        output = _only_tensor(self._interpreter.get_output_details(), "output", path)
        self.height, self.width = _size(input_, output, self.card, path)
        self._input = self._interpreter.tensor(input_["index"])
        self._output = self._interpreter.tensor(output["index"])
        self._frame = np.empty((self.height, self.width, 3), np.uint8)
        self._map = np.empty((self.height, self.width), np.uint8)
        self.input_dtype = np.dtype(input_["dtype"])
        self._output_table = _output_table(output)
        threshold = self.card["threshold"] if self.card else DEFAULT_THRESHOLD
        self.threshold_u8 = min(math.ceil(threshold * OUTPUT_STEPS), OUTPUT_STEPS - 1)
        """Fire pixels have at least this value in the map."""
        self._input_max = 255.0  # value of a float input
        if self.card is None:
            if self.input_dtype.kind == "f":
                self._input_max = self._likely_input_max(path)
            assumed = f"RGB frames in 0..{self._input_max:g}, threshold {DEFAULT_THRESHOLD}"
            warnings.warn(f"{path} carries no card: assuming {assumed} and its tensors' quantization", stacklevel=2)

    @property
    def kernels(self) -> str:
        """The family of kernels that run the model: "xnnpack", or the several times slower "builtin"."""
        try:
            operators: list[dict[str, Any]] = self._interpreter._get_ops_details()
        except Exception:  # private: a later runtime may lack it, and it fails on tensor names that are not UTF-8
            return XNNPACK
        is_delegated = any(operator["op_name"] == "DELEGATE" for operator in operators)
        return BUILTIN if operators and not is_delegated else XNNPACK

    def mask(self, frame: Frame) -> Mask:
        """Return the boolean fire mask (height, width) of an RGB `uint8` frame (H, W, 3) of any size."""
        return self(frame) >= self.threshold_u8

    def __call__(self, frame: Frame) -> Map:
        """Return the `uint8` probability map (height, width), in steps of 1/256, of a frame of any size.

        The next call overwrites the map: copy it to keep it.
        """
        self.load(frame)
        self.invoke()
        return self.result()

    def load(self, frame: Frame) -> None:
        """Write the frame at model size into the input tensor."""
        if self.input_dtype == np.uint8:
            to_model_input(frame, self.height, self.width, out=self._input()[0])
            return
        to_model_input(frame, self.height, self.width, out=self._frame)
        if self.input_dtype == np.int8:
            # Flipping the top bit subtracts 128.
            np.bitwise_xor(self._frame, 0x80, out=self._input()[0].view(np.uint8))
        elif self._input_max == 255:
            np.copyto(self._input()[0], self._frame)
        else:
            np.multiply(self._frame, np.float32(self._input_max / 255), out=self._input()[0])

    def invoke(self) -> None:
        """Run inference on the loaded frame. Raises `UserError` if the model is damaged."""
        try:
            self._invoke()
        except RuntimeError as error:
            raise UserError(f"{self.path} could not be run by {self.runtime} ({error})", "copy it again") from error

    def _invoke(self) -> None:
        # A profiler that samples stacks, as Dask's workers do, holds our arrays for a moment: wait for it.
        for _ in range(HELD_TRIES):
            try:
                return self._interpreter.invoke()
            except RuntimeError as error:
                if HELD not in " ".join(str(error).split()):
                    raise
            time.sleep(HELD_WAIT_S)
        return self._interpreter.invoke()

    def result(self) -> Map:
        """Return the map of the last inference."""
        output = self._output()[0, :, :, 0]
        if output.dtype.kind == "f":
            np.copyto(self._map, probability_to_u8(output))
        elif self._output_table is None:
            np.copyto(self._map, output)
        else:
            cv2.LUT(output.view(np.uint8), self._output_table, dst=self._map)
        return self._map

    def _likely_input_max(self, path: Path) -> float:
        """Return 255 or 1: whether a float model without a card sees the probe's flames in 0..255, or only in 0..1.

        Raises `UserError` if its outputs are not probabilities.
        """
        probe = make_probe()
        flames = to_model_mask(probe.flame_mask, self.height, self.width)
        contrasts = {}
        for input_max in (255.0, 1.0):
            self._input_max, outputs = input_max, []
            for frame in (probe.flames, probe.room):
                self.load(frame)
                self.invoke()
                outputs.append(self._output()[0, :, :, 0].copy())
            if input_max == 255 and not all(_are_probabilities(output) for output in outputs):
                low, high = min(map(np.min, outputs)), max(map(np.max, outputs))
                remedy = "expected probabilities from 0 to 1: end the network with a sigmoid"
                raise UserError(f"{path} has outputs from {low:.4g} to {high:.4g}", remedy)
            contrasts[input_max] = float((outputs[0] - outputs[1])[flames].mean())
        return 1.0 if contrasts[1.0] > contrasts[255.0] + MIN_CONTRAST_GAIN else 255.0


def _are_probabilities(output: npt.NDArray[np.floating]) -> bool:
    return bool(output.dtype.kind != "f" or (output.min() >= -ROUNDING and output.max() <= 1 + ROUNDING))


def _only_tensor(details: list[dict[str, Any]], kind: str, path: Path) -> dict[str, Any]:
    """Return the details of the model's one input or output. Raises `UserError`."""
    if len(details) != 1:
        raise UserError(f"{path} has {len(details)} {kind}s", "expected one, as in a FireSeg segmentation model")
    (detail,) = details
    dtype, shape = np.dtype(detail["dtype"]), tuple(map(int, detail["shape"]))
    if dtype not in (np.uint8, np.int8, np.float32) or len(shape) != 4:
        remedy = "expected uint8, int8 or float32 of shape (1, H, W, channels)"
        raise UserError(f"{path} has the {kind} {dtype} {shape}", remedy)
    if kind == "output" and dtype.kind != "f":
        scale, zero_point = detail["quantization"]
        if not scale:
            raise UserError(f"{path} has the output {dtype} {shape} without a scale", "export it with quantization")
        low, high = ((float(edge) - zero_point) * scale for edge in (np.iinfo(dtype).min, np.iinfo(dtype).max))
        if low < -0.5:
            remedy = "expected probabilities from 0 to 1: end the network with a sigmoid"
            raise UserError(f"{path} has outputs from {low:.4g} to {high:.4g}", remedy)
    return detail


def _size(input_: dict[str, Any], output: dict[str, Any], card: Card | None, path: Path) -> tuple[int, int]:
    """Return height and width. Raises `UserError` unless the model maps RGB to one map of the card's size."""
    shapes = tuple(map(int, input_["shape"])), tuple(map(int, output["shape"]))
    _, height, width, _ = shapes[0]
    signature = tuple(map(int, input_.get("shape_signature", shapes[0])))
    if -1 in signature[1:]:
        raise UserError(f"{path} has an input of free size {signature}", "convert it again with a fixed size")
    if height == 3 != width and shapes[0][3] != 3:
        raise UserError(f"{path} takes frames with channels first {shapes[0]}", "convert it to (1, H, W, 3)")
    if shapes != ((1, height, width, 3), (1, height, width, 1)):
        remedy = "expected an RGB frame (1, H, W, 3) to one probability per pixel (1, H, W, 1)"
        raise UserError(f"{path} maps {shapes[0]} to {shapes[1]}", remedy)
    stated = card and (card["input"].get("width"), card["input"].get("height"))
    if stated and stated != (width, height):
        problem = f"the card in {path} states {stated[0]}x{stated[1]} px but its input is {width}x{height} px"
        raise UserError(problem, "export the model again")
    return height, width


def _output_table(output: dict[str, Any]) -> npt.NDArray[np.uint8] | None:
    """Return the map value of each output byte; None if they are equal, or for float outputs."""
    dtype = np.dtype(output["dtype"])
    if dtype.kind == "f":
        return None
    scale, zero_point = output["quantization"]
    if dtype == np.uint8 and scale == 1 / OUTPUT_STEPS and zero_point == 0:
        return None
    stored = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    return np.clip((stored - zero_point) * scale * OUTPUT_STEPS, 0, 255).astype(np.uint8)
