"""Fire predicted in images without flames, and in the frames of a video."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.camera.files import open_video
from edge.errors import UserError
from edge.images import Frame
from train.evaluation.evaluate import Masks
from train.model.io import Predictor

# An image or frame counts as an alarm if its area fraction of fire exceeds these.
IMAGE_FRACTIONS = (0.001, 0.005)
FRAME_FRACTION = 0.002


def alarm_rates(fractions: Sequence[float], thresholds: Sequence[float]) -> dict[str, float]:
    """Return the share of images whose area fraction of fire exceeds each threshold, as over_0.1_percent."""
    return {f"over_{bound * 100:g}_percent": float(np.mean(np.asarray(fractions) > bound)) for bound in thresholds}


def image_alarms(masks: Masks) -> dict[str, float]:
    """Return the false alarm rates of N x H x W masks of images, or of tiles, without flames."""
    return alarm_rates(masks.mean(axis=(1, 2)).tolist(), IMAGE_FRACTIONS)


def video_alarms(
    predictor: Predictor, video: Path, frame_stride: int, on_progress: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return the alarm rate over every `frame_stride`-th frame. Raises `UserError` if the video cannot be read."""
    fractions = []
    for frame in read_frames(video, frame_stride):
        fractions.append(float(predictor.mask(frame).mean()))
        on_progress()
    return {"frames": len(fractions), **alarm_rates(fractions, [FRAME_FRACTION])}


def read_frames(video: Path, frame_stride: int) -> Iterator[Frame]:
    """Yield every `frame_stride`-th frame of a video in RGB, from the first. Warns if the video is truncated."""
    capture = _open(video)
    try:
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while capture.grab():
            if number % frame_stride == 0:
                ok, frame = capture.retrieve()
                if not ok:
                    break
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise UserError(f"video {video} holds no readable frames", "expected a complete AVI, MP4 or similar")
    if number < announced:
        warnings.warn(f"{video} ends after {number} of {announced} frames: it is cut short or damaged", stacklevel=2)


def count_frames(video: Path, frame_stride: int) -> int:
    """Return the number of frames to evaluate, by the video's header. Raises `UserError` if it is not a video."""
    capture = _open(video)
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(0, -(-announced // frame_stride))


def _open(video: Path) -> cv2.VideoCapture:
    if not video.is_file():
        raise UserError(f"video {video} does not exist", "expected a file such as an AVI or MP4")
    return open_video(video)
