"""Camera frame to model input: the preprocessing contract that training, export and the Pi share.

`to_model_input` is the one place that makes a model-size frame. `Segmenter`, `Detector`, training, calibration and
evaluation all call it: a second implementation would be an invisible domain shift. Only a Pi camera scales by itself.

The frame is squashed (no letterbox) RGB `uint8`. Normalisation is a layer inside the model, so the int8 model takes
these bytes unchanged.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame, Map


class _Scratch(threading.local):
    """Two alternating buffers per thread for intermediate frames: each step reads what the last one wrote."""

    def __init__(self) -> None:
        self._last = self._next = np.empty(0, np.uint8)

    def take(self, height: int, width: int) -> Frame:
        """Return a frame of this size; the one taken before stays valid until the next call."""
        size = height * width * 3
        self._last, self._next = self._next, self._last
        if self._last.size < size:
            self._last = np.empty(size, np.uint8)
        return self._last[:size].reshape(height, width, 3)


_scratch = _Scratch()


def to_model_input(frame: Frame, height: int, width: int, out: Frame | None = None) -> Frame:
    """Resize an RGB `uint8` frame of shape (H, W, 3) to (height, width, 3), into `out` if given.

    Every pixel of a shrinking frame counts, so that a small distant flame is not lost. A frame that grows on a side is
    interpolated linearly, any other is averaged by area. From half the size downwards the average is approximated at
    almost no cost: (1) halve while a side exceeds three times the model's; (2) resize linearly to twice the model's
    size, in steps of at most 1.5 pixels; (3) halve.

    Raises ValueError if the frame or `out` has another dtype or shape.

    Example:
        >>> to_model_input(np.zeros((720, 1280, 3), np.uint8), 224, 224).shape
        (224, 224, 3)
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"expected an RGB uint8 frame of shape (H, W, 3), got {frame.dtype} {frame.shape}")
    if out is not None and (out.shape != (height, width, 3) or out.dtype != np.uint8):
        # OpenCV would silently allocate another array.
        raise ValueError(f"expected a uint8 buffer of shape {(height, width, 3)}, got {out.dtype} {out.shape}")
    if _covers(frame, 2 * height, 2 * width):
        frame = _halved(frame, height, width)
        if not _exceeds(frame, 3 * height, 3 * width):
            frame = _resized(frame, 2 * height, 2 * width, cv2.INTER_LINEAR, _scratch.take(2 * height, 2 * width))
    return _resized(frame, height, width, cv2.INTER_AREA if _covers(frame, height, width) else cv2.INTER_LINEAR, out)


def to_model_mask(mask: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Resize a ground-truth mask to (height, width) with the nearest neighbour.

    INTER_NEAREST_EXACT samples cell centres, as averaging does, so that a flipped mask stays the flip of the mask.
    OpenCV's INTER_NEAREST would sample the top left corners. A centre between two pixels takes the lower right one.
    """
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.bool_)


def probability_to_u8(probability: npt.NDArray[np.floating]) -> Map:
    """Convert probabilities 0..1 to `uint8` in steps of 1/256, like the output tensor of the int8 model.

    Rounds down, so that `u8 >= 128` holds exactly for probabilities of at least 0.5.
    """
    return np.clip(probability * 256, 0, 255).astype(np.uint8)


def _halved(frame: Frame, height: int, width: int) -> Frame:
    """Halve the frame while a side exceeds three times the model's, none falls below it, and both are even."""
    while _exceeds(frame, 3 * height, 3 * width) and _covers(frame, 2 * height, 2 * width):
        rows, columns = frame.shape[0] // 2, frame.shape[1] // 2
        if frame.shape[:2] != (2 * rows, 2 * columns):
            break
        frame = _resized(frame, rows, columns, cv2.INTER_AREA, _scratch.take(rows, columns))
    return frame


def _covers(frame: Frame, height: int, width: int) -> bool:
    return frame.shape[0] >= height and frame.shape[1] >= width


def _exceeds(frame: Frame, height: int, width: int) -> bool:
    return frame.shape[0] > height or frame.shape[1] > width


def _resized(frame: Frame, height: int, width: int, interpolation: int, out: Frame | None = None) -> Frame:
    return cv2.resize(frame, (width, height), dst=out, interpolation=interpolation).astype(np.uint8, copy=False)
