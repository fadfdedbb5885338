"""What a run says about itself once a second, to every sink: camera, machine, deliveries, failures."""

from __future__ import annotations

from dataclasses import dataclass

from edge.host.machine import HostStatus as HostStatus  # part of a status
from edge.messages import CameraProblem, CameraState, FineView

OPTIONAL_THREADS = {"host status", "reload", "stdout writer", "stderr writer"}
"""Without these, fires are still detected and reported."""


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


@dataclass(frozen=True)
class FailureCounts:
    """What has failed since the run began, apart from deliveries."""

    reloads: int = 0
    """Configurations or models rejected."""
    thread_restarts: int = 0
    missing_threads: tuple[str, ...] = ()
    """Threads that should run and do not, now."""
    lost_files: int = 0
    """Images, clips and recordings that could not be written."""
    broken_frames: int = 0
    """Frames that could not be decoded."""
    late_writes: int = 0
    """Events published before they were on disk, since the disk was slow or hung."""


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
    """Frames skipped while the model was busy or because of `max_fps`."""
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
    fallback: str = ""
    """Why the run uses the last configuration and model that worked; empty while it uses those asked for."""
    flatbuffer_sha256: str = ""
    """Of the network in the model file, as its card says; empty if it does not."""
