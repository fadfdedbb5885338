"""Frame -> model input: the one contract of all rooms.

RGB `uint8` is squashed (no letterbox) to the model's size. Normalisation is a layer inside the model, so that the
int8 artefact takes these very bytes. Training, calibration, judging and the camera loop all come through here: a
resize done differently in one place is a domain shift that no report shows.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame, Map


def to_model_input(frame: Frame, height: int, width: int, out: Frame | None = None) -> Frame:
    """Resize an RGB `uint8` H x W x 3 frame to height x width x 3, into `out` where one is given.

    Areas are averaged when no side grows, so that a small distant flame is not skipped over; else linear.
    Raises ValueError where the frame or the buffer is of another kind.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"expected an RGB uint8 frame of shape (H, W, 3), got {frame.dtype} {frame.shape}")
    if out is not None and (out.shape != (height, width, 3) or out.dtype != np.uint8):
        # OpenCV would allocate another and leave this one as it was.
        raise ValueError(f"expected a uint8 buffer of shape {(height, width, 3)}, got {out.dtype} {out.shape}")
    shrinks = frame.shape[0] >= height and frame.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, (width, height), dst=out, interpolation=interpolation).astype(np.uint8, copy=False)


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
