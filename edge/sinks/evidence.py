"""Frames of a fire with the predicted masks, kept beside its clip for training on the verdict.

The first frames matter most, so the intervals grow: a fire leaves at most a dozen, however long it lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.event_files import FRAME
from edge.images import Frame, Mask, encode_jpeg
from edge.messages import END, PEAK, START, FireEvent, FrameResult

MAX_SIDE_PX = 672  # three tiles of 224 px: training crops from it, and one frame takes about 100 kB
JPEG_QUALITY = 95
SPREAD_FRAMES = 11  # of a fire, besides its peak; the last is of its 57th second
FIRST_STEP_S, STEP_GROWTH = 0.5, 1.5

Keep = Callable[[str, Frame, Mask], None]
"""Keeps a frame and its mask under a name."""


@dataclass
class _Fire:
    started_t_s: float
    frames: int = 1
    next_s: float = FIRST_STEP_S


class Evidence:
    """Chooses the frames of each fire: its start, its largest peak, and more at growing intervals.

    A drill leaves none: its flame is painted.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._fires: dict[str, _Fire] = {}

    def on_result(self, result: FrameResult) -> None:
        for id_, fire in self._fires.items():
            elapsed_s = result.t_s - fire.started_t_s
            if elapsed_s >= fire.next_s and fire.frames < SPREAD_FRAMES:
                self._keep(f"{id_}{FRAME}{fire.frames:02d}", result.rgb, result.mask)
                fire.frames += 1
                fire.next_s = STEP_GROWTH * elapsed_s + FIRST_STEP_S

    def on_event(self, event: FireEvent) -> None:
        if event.kind == START and not event.drill:
            self._fires[event.id] = _Fire(event.t_s)
            self._keep(f"{event.id}{FRAME}00", event.rgb, event.mask)
        elif event.kind == PEAK and event.id in self._fires:
            self._keep(f"{event.id}{FRAME}peak", event.rgb, event.mask)  # replaces a smaller peak
        elif event.kind == END:
            self._fires.pop(event.id, None)


def for_training(rgb: Frame) -> Frame:
    """Return a frame with sides of at most `MAX_SIDE_PX`: a full one would take megabytes until it is written."""
    height, width = rgb.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def write_frame(path: Path, rgb: Frame) -> None:
    """Write a frame as a JPEG."""
    path.write_bytes(encode_jpeg(rgb, JPEG_QUALITY))


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask as a PNG of 0 and 255."""
    _, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    path.write_bytes(data.tobytes())
