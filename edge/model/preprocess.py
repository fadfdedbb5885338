"""Frame -> model input: the one contract of all rooms.

RGB `uint8` is squashed (no letterbox) to the model's size. Normalisation is a layer inside the model, so that the
int8 artefact takes these very bytes. Training, calibration, judging and the camera loop all come through here: a
resize done differently in one place is a domain shift that no report shows.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame, Map


class _Scratch(threading.local):
    """Room for the frames between a large frame and a model's input, each thread's own, kept from frame to frame.

    Two buffers in turn: each step reads what the step before it wrote.
    """

    def __init__(self) -> None:
        self._last = self._next = np.empty(0, np.uint8)

    def take(self, height: int, width: int) -> Frame:
        """A frame of this size; the frame taken before it stays whole until the next is taken."""
        size = height * width * 3
        self._last, self._next = self._next, self._last
        if self._last.size < size:
            self._last = np.empty(size, np.uint8)
        return self._last[:size].reshape(height, width, 3)


_scratch = _Scratch()


def to_model_input(frame: Frame, height: int, width: int, out: Frame | None = None) -> Frame:
    """Resize an RGB `uint8` H x W x 3 frame to height x width x 3, into `out` where one is given.

    Every pixel of a shrinking frame counts, so that a small distant flame is not skipped over: areas are averaged when
    no side grows, else linear. Where both sides shrink to half or less, the average is approached through the one that
    costs next to nothing, that of 2 x 2 pixels: halve the frame while a side is above three times the model's, go
    linearly to twice the model's size (neighbours at most 1.5 pixels apart, so that none is stepped over), halve.
    Raises ValueError where the frame or the buffer is of another kind.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"expected an RGB uint8 frame of shape (H, W, 3), got {frame.dtype} {frame.shape}")
    if out is not None and (out.shape != (height, width, 3) or out.dtype != np.uint8):
        # OpenCV would allocate another and leave this one as it was.
        raise ValueError(f"expected a uint8 buffer of shape {(height, width, 3)}, got {out.dtype} {out.shape}")
    if _covers(frame, 2 * height, 2 * width):
        frame = _halved(frame, height, width)
        if not _exceeds(frame, 3 * height, 3 * width):
            frame = _resized(frame, 2 * height, 2 * width, cv2.INTER_LINEAR, _scratch.take(2 * height, 2 * width))
    return _resized(frame, height, width, cv2.INTER_AREA if _covers(frame, height, width) else cv2.INTER_LINEAR, out)


def to_model_mask(mask: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Resize a truth mask H x W to height x width with the nearest neighbour.

    OpenCV's INTER_NEAREST takes the top left corner of each cell; INTER_NEAREST_EXACT takes its centre, as the
    averaging of the frame does, so that a flipped mask stays the flip of the mask. Only where a centre falls right
    between two pixels, as in halving, it takes the lower right one.
    """
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.bool_)


def probability_to_u8(probability: npt.NDArray[np.floating]) -> Map:
    """Probability 0..1 -> `uint8` in steps of 1/256, as the int8 artefact's output tensor holds it.

    Rounded down, so that `u8 >= 128` holds exactly where the probability is at least 0.5.
    """
    return np.clip(probability * 256, 0, 255).astype(np.uint8)


def _halved(frame: Frame, height: int, width: int) -> Frame:
    """The frame, halved while a side is above three times the model's, no side falls below it and none is odd."""
    while _exceeds(frame, 3 * height, 3 * width) and _covers(frame, 2 * height, 2 * width):
        rows, columns = frame.shape[:2]
        if rows % 2 or columns % 2:
            break
        rows, columns = rows // 2, columns // 2
        frame = _resized(frame, rows, columns, cv2.INTER_AREA, _scratch.take(rows, columns))
    return frame


def _covers(frame: Frame, height: int, width: int) -> bool:
    return frame.shape[0] >= height and frame.shape[1] >= width


def _exceeds(frame: Frame, height: int, width: int) -> bool:
    return frame.shape[0] > height or frame.shape[1] > width


def _resized(frame: Frame, height: int, width: int, interpolation: int, out: Frame | None = None) -> Frame:
    return cv2.resize(frame, (width, height), dst=out, interpolation=interpolation).astype(np.uint8, copy=False)
