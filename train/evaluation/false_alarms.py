"""How often a model sees fire at all: in pictures where nothing burns, and in the frames of a video."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.errors import UserError
from edge.images import Frame
from train.evaluation.evaluate import Masks
from train.model.io import Predictor

# A speck is no alarm: the shares of a picture's pixels from which on it counts as one.
PICTURE_SHARES = (0.001, 0.005)
FRAME_SHARE = 0.002

Step = Callable[[], None]


def alarms(shares: Sequence[float], bounds: Sequence[float]) -> dict[str, float]:
    """The share of pictures of which more than each bound is called fire. `shares` is what is, picture by picture."""
    return {over(bound): float(np.mean(np.asarray(shares) > bound)) for bound in bounds}


def over(bound: float) -> str:
    """The name of the share of pictures of which more than `bound` is called fire: over_0.1_percent."""
    return f"over_{bound * 100:g}_percent"


def picture_alarms(masks: Masks) -> dict[str, float]:
    """The false alarms on N x H x W masks of pictures without flames."""
    return {"images": len(masks), **alarms(masks.mean(axis=(1, 2)).tolist(), PICTURE_SHARES)}


def video_alarms(predictor: Predictor, video: Path, every: int, on_progress: Step | None = None) -> dict[str, float]:
    """The alarms on every so many frames of a video. Raises `UserError` where it cannot be read."""
    shares = []
    for frame in frames(video, every):
        shares.append(float((predictor(frame) >= predictor.threshold_u8).mean()))
        if on_progress:
            on_progress()
    return {"frames": len(shares), **alarms(shares, [FRAME_SHARE])}


def frames(video: Path, every: int) -> Iterator[Frame]:
    """The first frame of a video and every so many after it, in RGB. Warns where it ends before its own header says."""
    capture = _open(video)
    try:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while capture.grab():
            if number % every == 0:
                whole, frame = capture.retrieve()
                if not whole:
                    break
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise UserError(f"video {video} holds no frames that can be read", "expected a whole AVI, MP4 or the like")
    if number < announced:
        warnings.warn(f"{video} ends after {number} of {announced} frames: it is cut short or damaged", stacklevel=2)


def count_frames(video: Path, every: int) -> int:
    """How many frames will be judged, as the video's header says. Raises `UserError` where it is no video."""
    capture = _open(video)
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(0, -(-announced // every))


def _open(video: Path) -> cv2.VideoCapture:
    if not video.is_file():
        raise UserError(f"video {video} does not exist", "expected a file such as an AVI or MP4")
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise UserError(f"{video} is not a video that can be read", "expected an AVI, MP4 or the like")
    return capture
