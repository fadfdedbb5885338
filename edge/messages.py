"""What the loop publishes: a result per frame, fire events, and a status about once a second.

This is all that a sink needs to know of the rest of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.camera.base import CameraState
from edge.host.machine import THROTTLE_BITS, HostStatus
from edge.images import Frame, Mask

__all__ = [
    "END", "PEAK", "START", "THROTTLE_BITS", "WHOLE_FRAME", "CameraState", "FireEvent", "FrameResult", "HostStatus",
    "RunStatus",
]  # fmt: skip

WHOLE_FRAME = "frame"
"""Name of the only zone of a run without configured zones."""
START, PEAK, END = "start", "peak", "end"


@dataclass(frozen=True)
class FrameResult:
    """What one frame came to."""

    frame: int
    """How many frames the source had given with this one."""
    t_s: float
    age_ms: float
    """From the capture of the frame to this result."""
    inference_ms: float
    fire_share: float
    """Burning share of all that is not ignored."""
    shares: dict[str, float]
    """Burning share of each zone."""
    alarms: dict[str, bool]
    rgb: Frame
    mask: Mask
    """Where it burns, at the model's size, ignored areas included."""

    @property
    def alarm(self) -> bool:
        return any(self.alarms.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "result",
            "t_s": round(self.t_s, 3),
            "frame": self.frame,
            "age_ms": round(self.age_ms, 1),
            "inference_ms": round(self.inference_ms, 1),
            "fire_share": round(self.fire_share, 5),
            "alarm": self.alarm,
            "zones": {
                name: {"share": round(share, 5), "alarm": self.alarms[name]} for name, share in self.shares.items()
            },
        }


@dataclass(frozen=True)
class FireEvent:
    """One piece of news of one fire."""

    id: str
    """The same from start to end."""
    number: int
    """Which news of this fire it is, from 1: with the id a name for good, by which a copy can be told."""
    kind: str
    zone: str
    time: str
    """When it was told, UTC."""
    t_s: float
    """When it was, by the source's time: for a peak, the moment of the largest share."""
    started_t_s: float
    share: float
    peak_share: float
    """The largest share of the zone so far."""
    age_ms: float
    model_sha256: str
    source: str
    """Without credentials."""
    rgb: Frame
    """The frame it speaks of; for a peak, the one that burned most."""
    mask: Mask

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "event",
            "id": self.id,
            "number": self.number,
            "kind": self.kind,
            "zone": self.zone,
            "time": self.time,
            "t_s": round(self.t_s, 3),
            "duration_s": round(self.t_s - self.started_t_s, 3),
            "share": round(self.share, 5),
            "peak_share": round(self.peak_share, 5),
            "age_ms": round(self.age_ms, 1),
            "model_sha256": self.model_sha256,
            "source": self.source,
        }


@dataclass(frozen=True)
class RunStatus:
    """One look at the run. It comes whether or not the source gives frames."""

    source: str
    """Without credentials."""
    camera_state: CameraState
    connects: int
    """How often the source was opened, the first time included."""
    running_s: float
    """Since the loop began."""
    results: int
    dropped: int
    """Frames that came while the model was busy, or that `max_fps` left out."""
    fps: float
    """Results a second since the last status."""
    last_result_age_s: float
    """Since the last result, or since the loop began where there was none."""
    machine: HostStatus
    model_sha256: str
