"""A detector whose model predicts fire on bright red, and frames, results and events without a camera."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import cv2
import numpy as np

from edge.camera.capture import TimedFrame
from edge.camera.pattern import HEIGHT, WIDTH, PatternCamera
from edge.detection.alarm import AlarmRules
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.regions import Region
from edge.detection.zones import Zone, ZoneMap
from edge.images import Frame, Map, Mask
from edge.messages import PROBLEM, CameraEvent, CameraProblem, CameraState, FireEvent, FrameResult, UpdateEvent
from edge.model.segmenter import Segmenter
from edge.run_status import HostStatus, RunStatus

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL_HASH = "ab" * 32


class RedIsFire:
    """The interface of a segmenter without a network: fire is where red saturates."""

    height, width, threshold_u8, card = 112, 112, 128, None

    def __call__(self, frame: Frame) -> Map:
        assert frame.shape == (self.height, self.width, 3)
        return np.where((frame[..., 0] > 200) & (frame[..., 2] < 230), 240, 10).astype(np.uint8)

    def mask(self, frame: Frame) -> Mask:
        return self(frame) >= self.threshold_u8


def red_is_fire() -> Segmenter:
    return cast(Segmenter, RedIsFire())


def make_detector(zones: tuple[Zone, ...] = (), rules: AlarmRules | None = None, clock_s: float = 0.0) -> Detector:
    events = EventTracker(MODEL_HASH, "test", now=lambda: NOON, new_id=lambda _, zone: f"fire-{zone}")
    grid = ZoneMap(zones, [], RedIsFire.height, RedIsFire.width)
    return Detector(red_is_fire(), grid, rules or AlarmRules(), events, passes_per_frame=1, clock=lambda: clock_s)


GRID = 112, 112


def region(
    left: int = 50,
    top: int = 50,
    width: int = 8,
    height: int = 12,
    *,
    probability: float = 0.95,
    redness: float = 150.0,
) -> Region:
    """Return a rectangular region as the detector finds it, on a grid of the model above."""
    cells = np.ones((height, width), np.uint8)
    return Region(left, top, cells, GRID, width * height, probability, redness)


def frame(number: int, rgb: Frame, t_s: float, captured_s: float = 0.0) -> TimedFrame:
    return TimedFrame(number, rgb, None, t_s, captured_s)


def pattern_frames(seconds: float, fps: float = 10.0) -> list[TimedFrame]:
    pattern = PatternCamera(fps=fps)
    return [frame(n + 1, pattern.frame(n / fps), n / fps) for n in range(round(seconds * fps))]


def lamp(t_s: float) -> Frame:
    """Return a red lamp in the dark, with sensor noise."""
    light = np.full((HEIGHT, WIDTH, 3), 30.0)
    cv2.circle(light, (160, 120), 40, (250.0, 40.0, 20.0), -1)
    noise = np.random.default_rng(round(t_s * 1000)).normal(0, 3, light.shape)
    return np.clip(light + noise, 0, 255).astype(np.uint8)


def glowing(number: int, size: int, *, left: int = 100) -> Frame:
    """Return a frame with a square that flickers like flame."""
    rgb = np.full((240, 320, 3), 30, np.uint8)
    levels = np.random.default_rng(number).integers(0, 120, (size // 8, size // 8), np.uint8)
    green = cv2.resize(levels, (size, size), interpolation=cv2.INTER_NEAREST)
    rgb[60 : 60 + size, left : left + size] = np.dstack([np.full_like(green, 240), green, np.full_like(green, 20)])
    return rgb


def result(t_s: float, share: float, *, on: bool, number: int = 1, zone: str = "frame", level: int = 60) -> FrameResult:
    """Return a result of the detector; the grey `level` of its image identifies it."""
    return FrameResult(
        frame=number,
        t_s=t_s,
        age_ms=12.34,
        inference_ms=5.67,
        fire_share=share,
        shares={zone: share},
        alarms={zone: on},
        rgb=np.full((48, 64, 3), level, np.uint8),
        mask=np.zeros((12, 16), np.bool_),
    )


def event(kind: str, *, id_: str = "20261122T120000Z-frame-abcd", number: int = 1, t_s: float = 1.0) -> FireEvent:
    frame_result = result(t_s, 0.1, on=True)
    return FireEvent(
        id=id_,
        number=number,
        kind=kind,
        zone="frame",
        time=NOON.isoformat(),
        t_s=t_s,
        started_t_s=1.0,
        share=0.1,
        peak_share=0.1,
        age_ms=frame_result.age_ms,
        model_sha256=MODEL_HASH,
        source="test",
        rgb=frame_result.rgb,
        mask=frame_result.mask,
    )


def camera_event(kind: str, problem: CameraProblem = CameraProblem.COVERED, *, t_s: float = 1.0) -> CameraEvent:
    return CameraEvent(
        id="20261122T120000Z-camera-abcd",
        number=1 if kind == PROBLEM else 2,
        kind=kind,
        problem=problem,
        time=NOON.isoformat(),
        t_s=t_s,
        started_t_s=1.0,
        alarm=False,
        model_sha256=MODEL_HASH,
        source="test",
        rgb=result(t_s, 0.0, on=False).rgb,
    )


def update_event(kind: str, problem: str = "base 01e12d1af291 was rolled back: it is slow") -> UpdateEvent:
    id_, number = "20261122T120000Z-update-abcd", 1 if kind == PROBLEM else 2
    return UpdateEvent(id_, number, kind, problem, NOON.isoformat(), MODEL_HASH, "test")


def run_status(**changes: Any) -> RunStatus:
    """The status of a healthy run."""
    fields: dict[str, Any] = {
        "source": "test",
        "camera_state": CameraState.STREAMING,
        "connects": 1,
        "running_s": 12.3,
        "results": 100,
        "dropped": 7,
        "fps": 9.5,
        "last_result_age_s": 0.1,
        "machine": HostStatus(governor=None, temperature_c=55.0, throttling=None, load=0.1),
        "model_sha256": MODEL_HASH,
    }
    return RunStatus(**fields | changes)
