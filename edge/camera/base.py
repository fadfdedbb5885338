"""The camera interface: what a camera returns, its states, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from edge.images import Frame


class CameraError(Exception):
    """A camera failure worth retrying; others, such as a missing file, are a `UserError`. Contains no credentials."""

    def __init__(self, problem: str, remedy: str = "check that the camera is on and connected") -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}: {remedy}")


class BrokenFrameError(Exception):
    """A frame could not be decoded; the next one may be intact. Contains no credentials.

    Args:
        count: number of broken frames.
    """

    def __init__(self, problem: str, count: int = 1) -> None:
        self.count = count
        super().__init__(problem)


class CameraState(StrEnum):
    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


@dataclass(frozen=True)
class CameraFrame:
    """One frame as a camera returns it. The arrays are not reused by later frames."""

    rgb: Frame
    model_rgb: Frame | None = None
    """The frame at model size, if the camera scaled it itself."""
    t_s: float | None = None
    """Position in a recording; None for live cameras."""
    captured_s: float | None = None
    """Capture time on the `time.monotonic` clock; None if the camera does not report it."""
    skipped: int = 0
    """Frames before it that arrived and were not returned; they count as dropped."""


@dataclass(frozen=True)
class CameraSettings:
    """Settings of a camera or recording. A camera may ignore size and rate."""

    size: tuple[int, int] = (1280, 720)
    """Requested width and height of frames, in pixels."""
    model_size: tuple[int, int] = (224, 224)
    """Width and height of the model input. A Pi camera scales to it in hardware."""
    fps: float = 10.0
    """Frame rate of a camera, an image folder or the test pattern."""
    timeout_s: float = 10.0
    """Longest time to connect, and between two frames."""

    @property
    def interval_s(self) -> float:
        """Time between two frames: at most half of `timeout_s`, so that a low rate does not stall."""
        return min(1 / self.fps, self.timeout_s / 2)


class Camera(Protocol):
    """One camera or recording. The same thread opens, reads and closes it."""

    name: str
    """Name in logs and results, without credentials."""
    live: bool
    """True for a camera, which is reopened when it ends; False for a recording."""

    def open(self) -> None:
        """Open the camera. Raises `CameraError` or `UserError`."""

    def read(self) -> CameraFrame | None:
        """Wait for the next frame; None at the end of a recording.

        Raises `CameraError`, or `BrokenFrameError` if the next call may give a frame.
        """

    def close(self) -> None:
        """Release the camera. Safe to call after an error, and twice."""
