"""What every source of frames gives, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.images import Frame


class SourceError(Exception):
    """A source that gives no frames now and may give some later. The message shows no credentials.

    What trying again will not mend, such as a file that is not there, is an `edge.errors.UserError` instead.
    """


@dataclass(frozen=True)
class Shot:
    """One frame as its source gives it, in arrays of its own."""

    rgb: Frame
    small: Frame | None = None
    """The same at the model's size, where the camera made that itself."""
    t_s: float | None = None
    """The recording's own time; None for cameras."""
    captured_s: float | None = None
    """When it was taken by `time.monotonic`, where the camera tells; else it is when it was read."""


class Source(Protocol):
    """One camera or recording. Opened, read and closed by one and the same thread."""

    name: str
    """What it is called in logs and results, without credentials."""
    live: bool
    """A camera: frames come when they come, and one that ends is opened again. Else a recording, with an end."""

    def open(self) -> None:
        """Raises `SourceError` or `UserError`."""

    def read(self) -> Shot | None:
        """The next frame, waiting for it; None at the end of a recording. Raises `SourceError`."""

    def close(self) -> None:
        """Let go of the camera; also after an error, and twice."""
