"""What every source of frames gives, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from edge.images import Frame


class CameraError(Exception):
    """A source that gives no frames now and may give some later. The message shows no credentials.

    What trying again will not mend, such as a file that is not there, is an `edge.errors.UserError` instead.
    """


class CameraState(StrEnum):
    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


@dataclass(frozen=True)
class CameraFrame:
    """One frame as its source gives it, in arrays of its own."""

    rgb: Frame
    small: Frame | None = None
    """The same at the model's size, where the camera made that itself."""
    t_s: float | None = None
    """The recording's own time; None for cameras."""
    captured_s: float | None = None
    """When it was taken by `time.monotonic`, where the camera tells; else it is when it was read."""


class Camera(Protocol):
    """One camera or recording. Opened, read and closed by one and the same thread."""

    name: str
    """What it is called in logs and results, without credentials."""
    live: bool
    """A camera: frames come when they come, and one that ends is opened again. Else a recording, with an end."""

    def open(self) -> None:
        """Raises `CameraError` or `UserError`."""

    def read(self) -> CameraFrame | None:
        """The next frame, waiting for it; None at the end of a recording. Raises `CameraError`."""

    def close(self) -> None:
        """Let go of the camera; also after an error, and twice."""
