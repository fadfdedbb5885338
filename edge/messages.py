"""What the loop publishes, and all that a sink needs to know: a result per frame, events, and a status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from edge.camera.base import CameraState
from edge.host.machine import THROTTLE_BITS
from edge.images import Frame, Mask

__all__ = [
    "END", "PEAK", "PROBLEM", "RECOVERED", "START", "STILL", "THROTTLE_BITS", "WHOLE_FRAME", "Box",
    "CameraEvent", "CameraProblem", "CameraState", "Event", "FineView", "FireEvent", "FrameResult",
    "Polygon", "Silence", "TrackStatus", "UpdateEvent",
]  # fmt: skip

WHOLE_FRAME = "frame"  # the only zone of a run without configured zones
START, PEAK, END = "start", "peak", "end"
STILL = "still"  # the fire goes on, and is no longer silenced
PROBLEM, RECOVERED = "problem", "recovered"


Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of the frame."""
Polygon = tuple[tuple[float, float], ...]
"""Corners, x to the right and y downwards, as fractions of the frame."""


class CameraProblem(StrEnum):
    """Why a camera cannot see, although frames arrive."""

    FROZEN = "frozen"
    BLACK = "black"
    WHITE = "white"
    COVERED = "covered"
    OUT_OF_FOCUS = "out of focus"
    MOVED = "moved"
    FOGGED = "fogged"


class Silence(StrEnum):
    """Why an alarm is silenced: it is recorded, shown and published, but not notified."""

    DISARMED = "disarmed"
    SNOOZED = "snoozed"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True)
class TrackStatus:
    """One track: a region of fire pixels, followed over time."""

    id: int
    box: Box
    share: float
    """Area fraction of the frame."""
    confirmed: bool
    """Whether it counts as fire: seen often enough, for long enough, flickering and in place."""
    quiet: bool = False
    """Whether it is at a quiet place, and therefore raises no alarm."""
    drill: bool = False
    """Whether it is the flame that a fire drill paints."""

    def as_json(self) -> dict[str, Any]:
        box = [round(edge, 4) for edge in self.box]
        share = round(self.share, 4)
        return {"id": self.id, "box": box, "share": share, "confirmed": self.confirmed, "quiet": self.quiet}


@dataclass(frozen=True)
class FineView:
    """How the detector covers the frame in tiles at the camera's resolution."""

    zoom: int
    """Tiles in a row and in a column."""
    period_s: float
    """Time in which every tile is seen once."""

    def __str__(self) -> str:
        return f"whole frame at {self.zoom}x every {self.period_s:.1f} s"


@dataclass(frozen=True)
class FrameResult:
    """The result for one frame."""

    frame: int
    """Number of the frame at the source, from 1; dropped frames count."""
    t_s: float
    """Source time in seconds."""
    age_ms: float
    """Time from the capture of the frame to this result."""
    inference_ms: float
    """Time that all passes took, cutting tiles and merging maps included."""
    fire_share: float
    """Area fraction of fire pixels outside the ignored areas, 0..1."""
    shares: dict[str, float]
    """Area fraction of each zone, by its name."""
    alarms: dict[str, bool]
    """Whether the alarm of each zone is raised."""
    rgb: Frame
    mask: Mask
    """Fire pixels at the model's size, ignored areas included."""
    passes: int = 1
    """How often the model ran: for the whole frame and for tiles."""
    tracks: tuple[TrackStatus, ...] = ()
    infrared: bool = False
    """Whether the frame has no colour, as of a camera under infrared light."""
    paused: bool = False
    """Whether regions and alarms are suspended because the frame has no colour; mask and shares are the model's."""
    camera_problem: CameraProblem | None = None
    silences: Mapping[str, Silence] = field(default_factory=dict)
    """Why each zone is silenced, by its name; zones that are not are missing."""
    drill: bool = False
    """Whether a fire drill paints a flame into the frame, or has just ended."""
    drill_alarms: Mapping[str, bool] = field(default_factory=dict)
    """Whether the painted flame raises the alarm of each zone; only real fires raise those of `alarms`."""

    @property
    def alarm(self) -> bool:
        """Whether any alarm is raised."""
        return any(self.alarms.values())

    @property
    def sounds(self) -> bool:
        """Whether any alarm is raised that is not silenced."""
        return any(alarm and zone not in self.silences for zone, alarm in self.alarms.items())

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "result",
            "t_s": round(self.t_s, 3),
            "frame": self.frame,
            "age_ms": round(self.age_ms, 1),
            "inference_ms": round(self.inference_ms, 1),
            "passes": self.passes,
            "fire_share": round(self.fire_share, 5),
            "alarm": self.alarm,
            "infrared": self.infrared,
            "paused": self.paused,
            "drill": self.drill,
            **picture_json(self.camera_problem),
            "zones": {
                name: {"share": round(share, 5), "alarm": self.alarms[name], "silence": self.silences.get(name)}
                for name, share in self.shares.items()
            },
            "tracks": [track.as_json() for track in self.tracks],
        }


@dataclass(frozen=True)
class FireEvent:
    """One event of one fire: its start, a new peak, the end of its silence, or its end."""

    id: str
    """The same for all events of a fire."""
    number: int
    """Number of the event within its fire, from 1. With `id` it identifies duplicate deliveries."""
    kind: str
    """`START`, `PEAK`, `STILL` or `END`."""
    zone: str
    time: str
    """When the event was published, UTC, ISO 8601."""
    t_s: float
    """Source time of the event in seconds; for a peak, when the fire area was largest."""
    started_t_s: float
    share: float
    peak_share: float
    """Largest area fraction in the zone so far."""
    age_ms: float
    model_sha256: str
    source: str
    """Without credentials."""
    rgb: Frame
    """The frame of the event; for a peak, the one with the largest fire area."""
    mask: Mask
    camera_problem: CameraProblem | None = None
    """Why the camera cannot see: an alarm that ends then may have ended because of that."""
    paused: bool = False
    """Whether detection is paused under infrared light: an alarm that ends then may have ended because of that."""
    silence: Silence | None = None
    """Why it is silenced; None if it is not."""
    drill: bool = False
    """Whether the flame was painted into the frame by a fire drill."""

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "event",
            "id": self.id,
            "number": self.number,
            "kind": self.kind,
            "zone": self.zone,
            "time": self.time,
            "t_s": round(self.t_s, 3),
            "duration_s": round(max(0.0, self.t_s - self.started_t_s), 3),
            "share": round(self.share, 5),
            "peak_share": round(self.peak_share, 5),
            "age_ms": round(self.age_ms, 1),
            "model_sha256": self.model_sha256,
            "source": self.source,
            "paused": self.paused,
            "silence": self.silence,
            "drill": self.drill,
            **picture_json(self.camera_problem),
        }


@dataclass(frozen=True)
class CameraEvent:
    """The camera cannot see, or can see again."""

    id: str
    """The same for a problem and its end."""
    number: int
    """1 for the problem, 2 for its end."""
    kind: str
    """`PROBLEM` or `RECOVERED`."""
    problem: CameraProblem
    time: str
    """When the event was published, UTC, ISO 8601."""
    t_s: float
    started_t_s: float
    alarm: bool
    """Whether any fire alarm is raised."""
    model_sha256: str
    source: str
    """Without credentials."""
    rgb: Frame

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "camera",
            "id": self.id,
            "number": self.number,
            "kind": self.kind,
            "problem": self.problem.value,
            "time": self.time,
            "t_s": round(self.t_s, 3),
            "duration_s": round(max(0.0, self.t_s - self.started_t_s), 3),
            "alarm": self.alarm,
            "model_sha256": self.model_sha256,
            "source": self.source,
        }


@dataclass(frozen=True)
class UpdateEvent:
    """An update of the model failed or was rolled back, or that is over."""

    id: str
    """The same for a failure and its end."""
    number: int
    """Number of the event within its failure, from 1: each other reason is an event."""
    kind: str
    """`PROBLEM` or `RECOVERED`."""
    problem: str
    """What failed and why, in one line; for the end, what had failed."""
    time: str
    """When the event was made, UTC, ISO 8601."""
    model_sha256: str
    """Of the model in use."""
    source: str
    """Without credentials."""

    def as_json(self) -> dict[str, Any]:
        return {"type": "update"} | asdict(self)


Event = FireEvent | CameraEvent | UpdateEvent


def picture_json(problem: CameraProblem | None) -> dict[str, Any]:
    """Return how far the picture behind a result or an event can be trusted."""
    return {"picture_current": problem is None, "camera_problem": problem.value if problem else None}
