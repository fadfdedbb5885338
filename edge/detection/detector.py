"""The detector: from a frame to its result and events, through views, model, regions, tracks and alarm rules."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge.camera.capture import TimedFrame
from edge.detection.alarm import MIN_REDNESS, AlarmRules, confirm, locate, raised_alarms
from edge.detection.camera_health import CameraHealth
from edge.detection.events import EventTracker
from edge.detection.flicker import RecentFrames
from edge.detection.infrared import InfraredSwitch
from edge.detection.memory import PlaceMemory
from edge.detection.regions import Region, find_regions
from edge.detection.suggestions import Suggestions
from edge.detection.tracks import Sighting, Track, follow
from edge.detection.view_planner import ViewPlanner
from edge.detection.views import WHOLE, DetectionSettings, Infrared, View, merge, tile_input
from edge.detection.zones import ZoneMap
from edge.flames import labelled
from edge.images import Frame, Map, Mask
from edge.messages import Box, Event, FineView, FrameResult, Silence, TrackStatus
from edge.model.card import FLATBUFFER_SHA256
from edge.model.preprocess import to_model_input
from edge.model.segmenter import Segmenter
from edge.run_status import QuietStatus

MAX_CANDIDATES = 8
"""Tracks around which tiles are searched first; their tiles overlap, and all others come in turn."""
MAX_MEASURED, MAX_MEASURED_IN_ALARM = 12, 3
"""Tracks per frame whose flicker is measured: it bounds the time that a frame takes."""
DRILL_PART = 0.5
"""A track belongs to a fire drill if at least this part of its box lies where the flame is painted."""


class Detector:
    """Processes frames in time order; `clock` is that of `TimedFrame.captured_s`.

    Args:
        max_fps: frames per second that a camera would give; tiles use the time that it leaves. 0 for no limit.
        passes_per_frame: fixed number of passes, for a replay that does not depend on the machine; see `ViewPlanner`.
        memory, suggestions: the quiet places, and the candidates so far; none by default.

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
        settings: DetectionSettings = DetectionSettings(),  # noqa: B008 (frozen)
        *,
        max_fps: float = 10.0,
        passes_per_frame: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        memory: PlaceMemory | None = None,
        suggestions: Suggestions | None = None,
    ) -> None:
        self.events = events
        self.memory = memory or PlaceMemory(now=events.now)
        self.suggestions = suggestions or Suggestions(now=events.now)
        self._quiet: frozenset[int] = frozenset()  # tracks that raise no alarm in the last result
        self.silence: Callable[[], Silence | None] = lambda: None  # why fires are silenced now
        self._clock = clock
        self._passes_per_frame = passes_per_frame
        self._health = CameraHealth()
        self._frames = RecentFrames()
        self._infrared = InfraredSwitch()
        self._tracks: tuple[Track, ...] = ()
        self._drill_box: Box | None = None
        self._real: set[int] = set()  # confirmed tracks that are not the drill's, by id
        self._rules = rules
        self._ids = itertools.count(1)
        self.reconfigure(segmenter, zones, rules, settings, max_fps=max_fps)

    def reconfigure(
        self, segmenter: Segmenter, zones: ZoneMap, rules: AlarmRules, settings: DetectionSettings, *, max_fps: float
    ) -> None:
        """Replace model, zones and settings.

        Confirmed tracks go on, and their alarms with them, unless the rules have changed; candidates begin again.
        """
        if rules != self._rules:
            self._tracks = ()
        self._segmenter, self._zones, self._rules, self._settings = segmenter, zones, rules, settings
        self._size = size = segmenter.height, segmenter.width
        self.planner = ViewPlanner(settings.tiles, size, max_fps=max_fps, passes_per_frame=self._passes_per_frame)
        # The sightings belong to the old model; an alarm goes on.
        regions = {track.id: track.region.on_grid(size) for track in self._tracks if track.confirmed}
        self._tracks = tuple(
            replace(
                track,
                region=regions[track.id],
                place=track.place and track.place.on_grid(size),
                sightings=(Sighting(track.seen_s, regions[track.id]),),
            )
            for track in self._tracks
            if track.confirmed and regions[track.id].area
        )

    @property
    def fine_view(self) -> FineView | None:
        """How the frame is covered in tiles; None while only the whole frame is seen."""
        return self.planner.fine_view

    @property
    def flatbuffer_sha256(self) -> str:
        """SHA-256 of the network, as its card says; empty if it does not."""
        return str((self._segmenter.card or {}).get(FLATBUFFER_SHA256, ""))

    @property
    def quiet(self) -> QuietStatus:
        """Quiet places and suggested ignored areas."""
        areas = self.suggestions.areas(self._zones.monitored)
        return QuietStatus(self.memory.statuses(), areas, self.memory.quiet_s)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks after the last frame."""
        return self._tracks

    def prepare(self, rgb: Frame) -> Frame:
        """Return the frame at model size, for `TimedFrame.model_rgb`. Thread-safe."""
        return to_model_input(rgb, *self._size)

    def process(self, frame: TimedFrame) -> tuple[FrameResult, list[Event]]:
        """Return the result of a frame and the events it triggers.

        During a fire drill, tracks outside the painted flame raise real alarms, and so do those that raised one before.
        A fire in its place after the drill is a new track, and real.
        """
        started_s = self._clock()
        model_rgb = frame.model_rgb
        if model_rgb is None or model_rgb.shape[:2] != self._size:
            model_rgb = self.prepare(frame.rgb)
        views = self.planner.plan(frame.rgb.shape, frame.t_s, self._candidates())
        probability, whole, fine = self._predict(frame, model_rgb, views)
        inference_s = self._clock() - started_s
        mask = probability >= self._segmenter.threshold_u8
        self._frames.add(frame.t_s, frame.rgb)
        problem = self._health.update(frame.t_s, model_rgb)
        # A painted flame has colour whatever the light.
        infrared = self._infrared.is_on if frame.drill_box else self._infrared.update(frame.t_s, model_rgb)
        fire = mask.view(np.uint8) & self._zones.monitored
        paused = infrared and self._settings.infrared == Infrared.PAUSE
        regions = find_regions(probability, fire, rgb=model_rgb, whole=whole)
        if paused:  # a dark room has hardly any colour either, but a flame in it has
            regions = [region for region in regions if region.redness >= MIN_REDNESS]
        if any(frame.t_s < track.seen_s for track in self._tracks):
            self._tracks = ()  # the recording restarted
        is_drill = frame.drill_box is not None or self._drill_box is not None
        self._update_drill(frame.drill_box)
        self._tracks = confirm(self._follow(frame.t_s, regions, fine), frame.t_s, self._rules, infrared=infrared)
        painted = {track.id for track in self._tracks if self._is_painted(track)}
        self._real = {track.id for track in self._tracks if track.confirmed} - painted
        confirmed = [track for track in self._tracks if track.id in self._real]
        self._quiet = self.memory.quiet(confirmed, frame.t_s, self._rules.off_after_s)
        self._tracks = locate(self._tracks, frame.t_s, self._zones.cells, self._rules, self._quiet)
        real = [track for track in self._tracks if track.id not in painted]
        alarms = raised_alarms(real, self._zones.cells)
        result = FrameResult(
            frame=frame.number,
            t_s=frame.t_s,
            age_ms=1000 * (self._clock() - frame.captured_s),
            inference_ms=1000 * inference_s,
            fire_share=self._zones.fire_share(mask),
            shares=self._zones.shares(mask),
            alarms=alarms,
            # Without the label on a real fire, even during a drill.
            rgb=labelled(frame.rgb) if is_drill and not any(alarms.values()) else frame.rgb,
            mask=mask,
            passes=len(views),
            tracks=tuple(
                TrackStatus(
                    track.id,
                    track.region.box,
                    track.region.share,
                    track.confirmed,
                    quiet=track.id in self._quiet,
                    drill=track.id in painted,
                )
                for track in self._tracks
                if track.seen_s == frame.t_s
            ),
            infrared=infrared,
            paused=paused,
            camera_problem=problem,
            drill=is_drill,
            drill_alarms=raised_alarms([track for track in self._tracks if track.id in painted], self._zones.cells)
            if painted
            else {},
            silences=self.events.silences(alarms, self.silence()),
        )
        events = self.events.update(result)
        self.memory.observe(real, frame.t_s, events)
        self.suggestions.observe(real, frame.t_s, self._quiet)
        return result, events

    @property
    def zones(self) -> ZoneMap:
        return self._zones

    def _update_drill(self, box: Box | None) -> None:
        """Note where a drill paints; forget its tracks when it ends, so that its alarm is cleared at once.

        Real tracks there that raise no alarm, such as at a quiet place, are forgotten too: one that merges with the
        flame would raise a real alarm.
        """
        if self._drill_box and not box:
            self._tracks = tuple(track for track in self._tracks if not self._is_painted(track))
        self._drill_box = box
        if box:
            silent = {track.id for track in self._tracks if track.id in self._real and not track.zones}
            self._tracks = tuple(
                track for track in self._tracks if track.id not in silent or not _shared_area(track.region.box, box)
            )

    def _is_painted(self, track: Track) -> bool:
        if self._drill_box is None or track.id in self._real:
            return False
        box = track.region.box
        return _shared_area(box, self._drill_box) >= DRILL_PART * _shared_area(box, box)

    def _predict(self, frame: TimedFrame, model_rgb: Frame, views: Sequence[View]) -> tuple[Map, Map, Mask]:
        """Return the merged probability map, that of the whole frame, and which cells were seen in a tile."""
        started_s = self._clock()
        whole = self._segmenter(model_rgb).copy()
        tiles = ((view, self._segmenter(tile_input(frame.rgb, view, self._size))) for view in views if view != WHOLE)
        probability, fine = merge(self._size, itertools.chain([(WHOLE, whole)], tiles))
        self.planner.add_cost((self._clock() - started_s) / len(views))
        return probability, whole, fine

    def _candidates(self) -> list[Box]:
        """Return the boxes to search again: unconfirmed tracks, the newest first, then fires."""
        tracks = sorted(self._tracks, key=lambda track: (track.confirmed, -track.began_s))
        return [track.region.box for track in tracks[:MAX_CANDIDATES]]

    def _follow(self, t_s: float, regions: list[Region], fine: Mask) -> tuple[Track, ...]:
        def measure(track: Track, region: Region) -> float | None:
            return self._frames.flicker(track.sightings, region) if self._rules.require_flicker else None

        def is_visible(track: Track) -> bool:
            region = track.region
            return not region.needs_tile or bool(fine[region.centre])

        has_alarm = any(track.confirmed and track.id not in self._quiet for track in self._tracks)
        return follow(
            self._tracks,
            t_s,
            regions,
            next_id=lambda: next(self._ids),
            measure=measure,
            max_measured=MAX_MEASURED_IN_ALARM if has_alarm else MAX_MEASURED,
            is_visible=is_visible,
            keep_s=self._rules.off_after_s,
        )


def _shared_area(one: Box, other: Box) -> float:
    """Return the area that two boxes have in common, as a fraction of the frame."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
