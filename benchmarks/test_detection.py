"""Time of the detection beside the network: views, regions, tracks, flicker and alarm rules; part of `make bench`.

The network is replaced by its recorded outputs, and the whole frame comes at model size, as from a Pi camera.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import pytest

from edge.camera.capture import TimedFrame
from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.detection.alarm import AlarmRules
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.zones import ZoneMap
from edge.images import Frame, Map
from edge.model.latency import NETWORK, stages, time_runs
from edge.model.preprocess import to_model_input
from edge.model.segmenter import Segmenter

FPS, SECONDS = 10.0, 3.0
SIZE = 1280, 720
UNREACHABLE = AlarmRules(min_score=10.0)
"""Rules that confirm no track, so that each frame is as much work as before an alarm."""


class Recorded(Segmenter):
    """A segmenter that records its maps, and returns them again in the same order."""

    def __init__(self, model: str) -> None:
        super().__init__(model, threads=1)
        self.maps: list[Map] = []
        self.position: int | None = None

    def __call__(self, frame: Frame) -> Map:
        if self.position is None:
            self.maps.append(super().__call__(frame).copy())
            return self.maps[-1]
        self.position += 1
        return self.maps[self.position - 1]


@pytest.mark.parametrize("passes", [1, 5])
def test_detection(recorded: Any, passes: int) -> None:
    cv2.setNumThreads(1)
    segmenter = Recorded("base")
    frames = flames(segmenter)

    def detect() -> None:
        zones = ZoneMap([], [], segmenter.height, segmenter.width)
        detector = Detector(segmenter, zones, UNREACHABLE, EventTracker("", ""), passes_per_frame=passes)
        for frame in frames:
            detector.process(frame)

    detect()
    network_ms = time_runs(stages(Segmenter("base", threads=1), frames[0].rgb)[NETWORK], min_seconds=1).median_ms
    recorded.group = f"{len(frames)} frames beside the network, {passes} passes each"
    recorded.pedantic(detect, setup=lambda: setattr(segmenter, "position", 0), rounds=20, warmup_rounds=2)
    frame_ms = 1000 * recorded.stats.stats.median / len(frames)
    recorded.extra_info |= {"frame_ms": frame_ms, "network_ms": network_ms, "passes": passes, "cpus": os.cpu_count()}
    print(f"{passes} passes: {frame_ms:.2f} ms a frame beside the network, {frame_ms / network_ms:.2f} of one pass")


def flames(segmenter: Segmenter) -> list[TimedFrame]:
    """Return the test pattern in 720p while it shows flames."""
    pattern = PatternCamera(fps=FPS)
    frames = []
    for number in range(round(FPS * SECONDS)):
        t_s = FLAMES_FROM_S + number / FPS
        rgb = cv2.resize(pattern.frame(t_s), SIZE).astype(np.uint8, copy=False)
        small = to_model_input(rgb, segmenter.height, segmenter.width)
        frames.append(TimedFrame(number + 1, rgb, small, t_s, 0.0))
    return frames
