"""From one frame to its result and its news: the model's mask, the zones, the alarms, the events."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.camera.capture import TimedFrame
from edge.detection.alarm import AlarmRules, AlarmState, Observation, step
from edge.detection.events import EventTracker
from edge.detection.flicker import FlickerTracker
from edge.detection.zones import ZoneMap
from edge.images import Frame
from edge.messages import FireEvent, FrameResult
from edge.model.preprocess import to_model_input
from edge.model.segmenter import Segmenter


class Detector:
    """Looks at frames in the order of their time."""

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
        self._states: dict[str, AlarmState] = {}
        self.renew(segmenter, zones, rules)

    def renew(self, segmenter: Segmenter, zones: ZoneMap, rules: AlarmRules) -> None:
        """Go on with another model, other zones or rules. Zones that keep their name keep their alarm."""
        self._segmenter, self._zones, self._rules = segmenter, zones, rules
        self._states = {name: self._states.get(name, AlarmState()) for name in zones.cells}
        self._looks = {name: FlickerTracker() for name in zones.cells}

    def prepare(self, rgb: Frame) -> Frame:
        """A frame at the model's size, for `TimedFrame.small`; may be called by another thread."""
        return to_model_input(rgb, self._segmenter.height, self._segmenter.width)

    def look(self, frame: TimedFrame) -> tuple[FrameResult, list[FireEvent]]:
        """What one frame comes to."""
        began_s = self._clock()
        size = (self._segmenter.height, self._segmenter.width)
        small = frame.small
        if small is None or small.shape[:2] != size:
            small = self.prepare(frame.rgb)
        mask = self._segmenter.mask(small)
        done_s = self._clock()
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        shares: dict[str, float] = {}
        for name, burning in self._zones.burning(mask).items():
            state = self._states[name]
            undecided = not state.on and burning.share >= self._rules.on_share
            change = self._looks[name].change(frame.t_s, grey, burning.cells, compare=undecided)
            self._states[name] = step(state, Observation(frame.t_s, burning.share, change), self._rules)
            shares[name] = burning.share
        result = FrameResult(
            frame=frame.number,
            t_s=frame.t_s,
            age_ms=1000 * (self._clock() - frame.captured_s),
            inference_ms=1000 * (done_s - began_s),
            fire_share=self._zones.fire_share(mask),
            shares=shares,
            alarms={name: state.on for name, state in self._states.items()},
            rgb=frame.rgb,
            mask=mask,
        )
        return result, self.events.news(result)
