"""The detector: from a frame to its result and events, through model, zones, flicker and alarm rules."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.camera.capture import TimedFrame
from edge.detection.alarm import AlarmRules, AlarmState, Observation, step
from edge.detection.camera_health import CameraHealth
from edge.detection.events import EventTracker
from edge.detection.flicker import FlickerTracker
from edge.detection.zones import ZoneMap
from edge.images import Frame
from edge.messages import Event, FrameResult
from edge.model.preprocess import to_model_input
from edge.model.segmenter import Segmenter


class Detector:
    """Processes frames in time order; `clock` is that of `TimedFrame.captured_s`.

    Example:
        >>> segmenter = Segmenter("base")
        >>> zones = ZoneMap([], [], segmenter.height, segmenter.width)
        >>> detector = Detector(segmenter, zones, AlarmRules(), EventTracker(sha256(path), "camera 1"))
        >>> with Capture(lambda: build_camera("0", CameraSettings())) as capture:
        ...     result, events = detector.process(capture.newest(timeout_s=5))
    """

    def __init__(
        self,
        segmenter: Segmenter,
        zones: ZoneMap,
        rules: AlarmRules,
        events: EventTracker,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = events
        self._clock = clock
        self._health = CameraHealth()
        self._states: dict[str, AlarmState] = {}
        self.reconfigure(segmenter, zones, rules)

    def reconfigure(self, segmenter: Segmenter, zones: ZoneMap, rules: AlarmRules) -> None:
        """Replace model, zones and rules. Zones with the same name keep their alarm."""
        self._segmenter, self._zones, self._rules = segmenter, zones, rules
        self._states = {name: self._states.get(name, AlarmState()) for name in zones.cells}
        self._flicker = {name: FlickerTracker() for name in zones.cells}

    def prepare(self, rgb: Frame) -> Frame:
        """Return the frame at model size, for `TimedFrame.model_rgb`. Thread-safe."""
        return to_model_input(rgb, self._segmenter.height, self._segmenter.width)

    def process(self, frame: TimedFrame) -> tuple[FrameResult, list[Event]]:
        """Return the result of a frame and the events it triggers."""
        started_s = self._clock()
        model_rgb = frame.model_rgb
        if model_rgb is None or model_rgb.shape[:2] != (self._segmenter.height, self._segmenter.width):
            model_rgb = self.prepare(frame.rgb)
        mask = self._segmenter.mask(model_rgb)
        inference_s = self._clock() - started_s
        problem = self._health.update(frame.t_s, model_rgb)
        grey = cv2.cvtColor(model_rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        areas = self._zones.fire_areas(mask)
        for name, area in areas.items():
            state = self._states[name]
            compare = not state.raised and area.share >= self._rules.on_share
            flicker = self._flicker[name].update(frame.t_s, grey, area.cells, compare=compare)
            self._states[name] = step(state, Observation(frame.t_s, area.share, flicker), self._rules)
        result = FrameResult(
            frame=frame.number,
            t_s=frame.t_s,
            age_ms=1000 * (self._clock() - frame.captured_s),
            inference_ms=1000 * inference_s,
            fire_share=self._zones.fire_share(mask),
            shares={name: area.share for name, area in areas.items()},
            alarms={name: state.raised for name, state in self._states.items()},
            rgb=frame.rgb,
            mask=mask,
            camera_problem=problem,
        )
        return result, self.events.update(result)
