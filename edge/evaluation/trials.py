"""Trials: which flames laid over the frames of a view raise an alarm in the detector of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.assembly import build_detector
from edge.camera.capture import TimedFrame
from edge.config import Config
from edge.detection.infrared import HOLD_S, is_colourless
from edge.detection.view_planner import FPS_WITHOUT_LIMIT
from edge.detection.zones import ZoneMap
from edge.evaluation.flames import Flame, bounce
from edge.flames import box_around, lay, resized
from edge.images import Frame
from edge.messages import Box
from edge.model.segmenter import Segmenter

ALL_TILES = 10.0
"""Runs of the model per frame: each tile in each frame, as the tile of a lone track is searched."""
TRIAL_S = 1.2
"""A trial lasts this much longer than an alarm needs at least: 2 s with the default rules."""
MARGIN = 0.03
"""A track belongs to a flame if its middle lies in the flame's box, widened by this fraction of the frame."""
MIN_FLAME_PX = 2
NIGHT_LEVEL = 20.0
"""Mean grey level below which a frame without colour is a dark one, and not one under infrared light."""


@dataclass(frozen=True)
class LaidFlame:
    """A flame at a place of the frame."""

    centre: tuple[float, float]
    """Fractions of the frame."""
    size: float
    """Fraction of the frame's height."""
    phase_s: float


@dataclass(frozen=True)
class Scene:
    """The view, and the detector's settings for it."""

    frames: Sequence[Frame]
    """Of one size, `1 / fps` apart; played forwards and backwards."""
    config: Config
    flame: Flame

    @property
    def fps(self) -> float:
        """The rate of results, as in a run that keeps up."""
        return min(self.config.source.fps, self.config.loop.max_fps or FPS_WITHOUT_LIMIT)

    @property
    def trial_frames(self) -> int:
        """How many frames with flames a trial has."""
        rules = self.config.alarm
        return math.ceil((max(rules.on_s, rules.on_results / self.fps) + TRIAL_S) * self.fps)

    def lit(self, number: int, flames: Sequence[LaidFlame]) -> Frame:
        """Return a frame with flames; grey ones under infrared light."""
        rgb = self.frames[bounce(number, len(self.frames))]
        is_infrared = is_colourless(rgb) and float(rgb.mean()) >= NIGHT_LEVEL
        for each in flames:
            height_px = max(MIN_FLAME_PX, round(each.size * rgb.shape[0]))
            image = resized(self.flame.at(number / self.fps + each.phase_s), height_px)
            if is_infrared:
                image = np.repeat(image.max(axis=2, keepdims=True), 3, axis=2)
            rgb = lay(rgb, image, each.centre)
        return rgb

    def box(self, flame: LaidFlame) -> Box:
        """Return where a flame lies."""
        image, frame = self.flame.at(0), self.frames[0]
        aspect = image.shape[1] / image.shape[0] * frame.shape[0] / frame.shape[1]
        return box_around(flame.centre, flame.size * aspect, flame.size)


@dataclass
class Trials:
    """Shows flames to detectors of one model, in one thread."""

    scene: Scene
    segmenter: Segmenter
    passes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        config = self.scene.config
        self.zones = ZoneMap(config.zones, config.ignored, self.segmenter.height, self.segmenter.width)

    def alarming(self, flames: Sequence[LaidFlame]) -> set[Box]:
        """Return the boxes of the tracks that raise an alarm; the trial ends early if no further flame can."""
        scene, t_s = self.scene, 0.0
        detector = build_detector(scene.config, self.segmenter, self.zones, "", "", lambda: t_s, ALL_TILES)
        boxes: set[Box] = set()
        start_s = 0.0
        if is_colourless(scene.frames[0]):  # the detector recognises infrared light after `HOLD_S`
            start_s = HOLD_S + 1 / scene.fps
            for number, t_s in enumerate((0.0, HOLD_S)):
                self.passes += detector.process(TimedFrame(number, scene.frames[0], None, t_s, t_s))[0].passes
        for number in range(scene.trial_frames):
            t_s = start_s + number / scene.fps
            result, _ = detector.process(TimedFrame(number + 2, scene.lit(number, flames), None, t_s, t_s))
            self.passes += result.passes
            if any(result.alarms.values()):
                boxes |= {track.region.box for track in detector.tracks if track.zones}
            missing = [flame for flame in flames if not self.is_seen(flame, boxes)]
            if number >= scene.trial_frames // 2:  # a flame without a track by now will not raise an alarm
                tracks = [track.region.box for track in detector.tracks]
                missing = [flame for flame in missing if self.is_seen(flame, tracks)]
            if flames and not missing:
                break
        return boxes

    def is_seen(self, flame: LaidFlame, boxes: Iterable[Box]) -> bool:
        """Return whether the middle of one of the boxes lies in the flame, or closely around it."""
        left, top, right, bottom = self.scene.box(flame)
        return any(
            left - MARGIN <= (box[0] + box[2]) / 2 <= right + MARGIN
            and top - MARGIN <= (box[1] + box[3]) / 2 <= bottom + MARGIN
            for box in boxes
        )
