"""The status of a run, published to every sink once a second: camera, machine, deliveries, failures, actions."""

from __future__ import annotations

from dataclasses import dataclass

from edge.host.machine import HostStatus as HostStatus  # part of a status
from edge.messages import CameraProblem, CameraState, FineView, Polygon, Silence

OPTIONAL_THREADS = {"host status", "model updates", "reload", "stdout writer", "stderr writer", "trend"}
"""Without these, fires are still detected and reported."""


@dataclass(frozen=True)
class Delivered:
    """An event that a receiver has."""

    id: str
    number: int
    took_ms: float
    """Time since it was published."""


@dataclass(frozen=True)
class Link:
    """A link that a fire drill checks: a receiver, the page, or the folder of clips."""

    name: str
    problem: str
    """Why events do not arrive now; empty while they do."""
    last: Delivered | None
    """The last event that arrived."""


@dataclass(frozen=True)
class DrillStep:
    """The result of a fire drill for one link: the model, the alarm, or one of `Link`."""

    name: str
    after_ms: float | None = None
    """Since the flame was painted or, for receivers, since the alarm; None while it waits, and after a failure."""
    problem: str = ""
    """Why it failed; empty if it has not."""


@dataclass(frozen=True)
class DrillStatus:
    """The current fire drill, or the last one; survives a restart."""

    running: bool
    zone: str
    started: str
    """Local time, ISO 8601."""
    steps: tuple[DrillStep, ...] = ()
    passed: bool | None = None
    """None while it runs, and if it was stopped or skipped."""
    problem: str = ""
    """Why it was stopped or skipped."""
    last_passed: str = ""
    """When the last drill was passed, ISO 8601; empty if none was."""


@dataclass(frozen=True)
class ReceiverStatus:
    """How delivery to one receiver of events goes, since the run began unless noted."""

    name: str
    """Such as `mqtt`; without credentials."""
    problem: str
    """Why events do not arrive at the moment, such as `connection refused`; empty while they do."""
    made: int
    """Events handed over for delivery."""
    delivered: int
    dropped: int
    """Events that are lost: the queue was full, or their files disappeared."""
    dead_letters: int
    """Events set aside: rejected, unreadable, or failing while others pass. Their files stay."""
    retries: int
    waiting: int
    """Events to be delivered now, those of earlier runs included."""
    oldest_age_s: float
    """Age of the oldest waiting event; 0 if none waits."""
    last_delivered: Delivered | None = None


@dataclass(frozen=True)
class FailureCounts:
    """What has failed since the run began, apart from deliveries."""

    reloads: int = 0
    """Configurations or models rejected."""
    thread_restarts: int = 0
    missing_threads: tuple[str, ...] = ()
    """Threads that should run and do not, now."""
    lost_files: int = 0
    """Images, clips, recordings, saved states and plots that could not be written."""
    broken_frames: int = 0
    """Frames that could not be decoded."""
    late_writes: int = 0
    """Events published before they were on disk, since the disk was slow or hung."""


@dataclass(frozen=True)
class QuietPlaceStatus:
    """A place where a region raises no alarm for a time, after one that was not a fire."""

    id: str
    """That of the fire."""
    zone: str
    polygons: tuple[Polygon, ...]
    share: float
    """Its area, as a fraction of the frame; a region of more than twice this raises an alarm."""
    repeats: int
    """Number of alarms there that were not a fire."""
    expires: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class SuggestedArea:
    """A place with many candidates and no fire, which may become an ignored area."""

    id: str
    polygon: Polygon
    candidates: int
    """Tracks that were possible fire and never confirmed."""
    days: int
    """Number of days over which they were counted."""


@dataclass(frozen=True)
class QuietStatus:
    """Quiet places and suggested ignored areas."""

    places: tuple[QuietPlaceStatus, ...] = ()
    suggestions: tuple[SuggestedArea, ...] = ()
    quiet_s: float = 0.0
    """Seconds in which a quiet place kept an alarm from being raised, since the run began."""


@dataclass(frozen=True)
class ArmingStatus:
    """Whether fires are notified now. Times are UTC in ISO 8601."""

    armed: bool = True
    disarmed_until: str | None = None
    disarmed_left_s: float = 0.0
    snoozed_until: str | None = None
    snoozed_left_s: float = 0.0
    next_change: str | None = None
    """When the window of the weekly schedule ends or the next one begins; None without a schedule."""
    disarm_h: float = 12.0
    """Hours that disarming lasts by default, and minutes of a snooze."""
    snooze_min: float = 60.0

    @property
    def silence(self) -> Silence | None:
        if not self.armed:
            return Silence.DISARMED
        return Silence.SNOOZED if self.snoozed_until else None


@dataclass(frozen=True)
class UpdateStatus:
    """Updates of the model."""

    trial: bool = False
    """Whether a new model is tried now."""
    problem: str = ""
    """Why the last update failed or was rolled back; empty if it did not."""
    checked: str = ""
    """When the repository was last asked with success, UTC in ISO 8601; empty if never."""


@dataclass(frozen=True)
class RunStatus:
    """The state of a run. Published whether or not frames arrive."""

    source: str
    """Without credentials."""
    camera_state: CameraState
    connects: int
    """How often the source was opened, including the first time."""
    running_s: float
    """Seconds since the loop started."""
    results: int
    dropped: int
    """Frames skipped while the model was busy, because of `max_fps`, or by an RTSP or MJPEG camera for newer ones."""
    fps: float
    """Results per second since the last status."""
    last_result_age_s: float
    """Seconds since the last result, or since the loop started if there is none."""
    machine: HostStatus
    model_sha256: str
    """Of the whole file."""
    receivers: tuple[ReceiverStatus, ...] = ()
    failures: FailureCounts = FailureCounts()
    camera_problem: CameraProblem | None = None
    camera_problem_for_s: float = 0.0
    """Seconds since the problem was reported."""
    infrared: bool = False
    paused: bool = False
    fine_view: FineView | None = None
    """None while only the whole frame is seen, at model size."""
    arming: ArmingStatus = ArmingStatus()
    fallback: str = ""
    """Why the run uses the last configuration and model that worked; empty while it uses the configured ones."""
    flatbuffer_sha256: str = ""
    """Of the network in the model file, as its card says; empty if it does not."""
    quiet: QuietStatus = QuietStatus()
    drill: DrillStatus | None = None
    """None before the first fire drill."""
    update: UpdateStatus | None = None
    """None without [update] url."""
