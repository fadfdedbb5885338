"""Replay a recording through detectors, deterministically: the file's time stamps are the only clock.

Several detectors run in lockstep over one decoding, at frame rates of their own, and share the model's outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.assembly import build_detector
from edge.camera.base import BrokenFrameError
from edge.camera.capture import TimedFrame
from edge.camera.files import VideoFile
from edge.config import Config
from edge.detection.zones import ZoneMap
from edge.errors import UserError
from edge.images import Frame, Map
from edge.messages import START, FireEvent, FrameResult, TrackStatus
from edge.model.preprocess import to_model_input
from edge.model.segmenter import Segmenter

ROUNDING = 1e-6  # frame times are not exact in floating point
PASSES_PER_FRAME = 5.0
"""Runs of the model per frame: the whole frame and four tiles. An estimate of what a Pi 5 does in half of 0.1 s."""
MAX_STILLS = 10  # alarms of which the frame is kept
Frames = Iterable[tuple[float, Frame]]
"""Time in seconds and image of each frame, in order."""


class MemoSegmenter(Segmenter):
    """A segmenter that remembers its outputs until `forget`, so that detectors in lockstep run the model once."""

    def __init__(self, model_path: str | Path, *, threads: int | None = None) -> None:
        self._maps: dict[bytes, Map] = {}
        super().__init__(model_path, threads=threads)

    def __call__(self, frame: Frame) -> Map:
        """Return the probability map; unlike the base class, it stays as it is. Do not write into it."""
        key = b"%dx%d " % frame.shape[:2] + frame.tobytes()
        if key not in self._maps:
            self._maps[key] = super().__call__(frame).copy()
        return self._maps[key]

    def forget(self) -> None:
        """Forget the outputs of the last frame."""
        self._maps.clear()


@dataclass(frozen=True)
class Sample:
    """One result, as a timeline shows it."""

    t_s: float
    share: float
    alarm: bool
    tracks: tuple[TrackStatus, ...]


class Thinning:
    """Selects frames as a slow camera would: the first one at or after each multiple of 1/fps seconds."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._last = -1

    def selects(self, t_s: float) -> bool:
        """Return whether a camera would have taken the frame at this time. Times come in order."""
        number = int(t_s * self.fps + ROUNDING)
        is_due, self._last = number > self._last, max(number, self._last)
        return is_due


@dataclass
class Run:
    """One detector on one recording.

    Args:
        fire_s: begin and end of the fire, for a timeline: samples and the first alarms are kept, and the result with
            the largest fire area in this time.
    """

    config: Config
    segmenter: Segmenter
    fps: float
    source: str = ""
    fire_s: tuple[float, float] | None = None
    passes_per_frame: float = PASSES_PER_FRAME
    alarms_s: list[float] = field(default_factory=list, init=False)
    """When each alarm was raised, in any zone."""
    alarms: list[FireEvent] = field(default_factory=list, init=False)
    """The first alarms, with their frames; for a timeline."""
    samples: list[Sample] = field(default_factory=list, init=False)
    best: FrameResult | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        size = self.segmenter.height, self.segmenter.width
        zones = ZoneMap(self.config.zones, self.config.ignored, *size)
        self._t_s = 0.0
        self._thinning = Thinning(self.fps)
        self._detector = build_detector(
            self.config, self.segmenter, zones, "", self.source, lambda: self._t_s, self.passes_per_frame
        )

    def process(self, frame: TimedFrame) -> None:
        """Process a frame if the camera would have taken it."""
        if not self._thinning.selects(frame.t_s):
            return
        self._t_s = frame.t_s
        result, events = self._detector.process(frame)
        starts = [event for event in events if isinstance(event, FireEvent) and event.kind == START]
        self.alarms_s += (start.t_s for start in starts)
        if self.fire_s is not None:
            self.alarms = [*self.alarms, *starts][:MAX_STILLS]
            self.samples.append(Sample(result.t_s, result.fire_share, result.alarm, result.tracks))
            is_larger = self.best is None or result.fire_share > self.best.fire_share
            if is_larger and self.fire_s[0] <= result.t_s <= self.fire_s[1]:
                self.best = result


def read_frames(path: Path) -> Iterator[tuple[float, Frame]]:
    """Yield time and image of each frame of a video. Raises `UserError` if it is unreadable or damaged."""
    video = VideoFile(path)
    try:
        video.open()
        while (frame := video.read()) is not None:
            yield frame.t_s or 0.0, frame.rgb
    except BrokenFrameError as error:
        raise UserError(str(error), "copy or download it again") from None
    finally:
        video.close()


def replay(frames: Frames, runs: Sequence[Run], segmenter: MemoSegmenter) -> float:
    """Replay frames through every run, in lockstep; return the duration in seconds: the time of the last frame."""
    t_s = 0.0
    for number, (t_s, rgb) in enumerate(frames, start=1):
        frame = TimedFrame(number, rgb, to_model_input(rgb, segmenter.height, segmenter.width), t_s, t_s)
        for run in runs:
            run.process(frame)
        segmenter.forget()
    return t_s
