"""Cameras that follow a script: they give frames, end, fail, stall and hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge.camera.base import BrokenFrameError, CameraFrame, CameraState
from edge.camera.capture import Capture, TimedFrame
from edge.images import Frame

WAIT_S = 20.0  # for what takes milliseconds on an idle machine
Script = Callable[[], Iterator[CameraFrame | BrokenFrameError]]


class ScriptedCamera:
    """Runs its script again at each opening."""

    def __init__(self, script: Script, *, live: bool) -> None:
        self.name = "rtsp://***@camera/live"
        self.live = live
        self._script = script
        self._frames: Iterator[CameraFrame | BrokenFrameError] = iter(())
        self.closed = threading.Event()

    def open(self) -> None:
        self._frames = self._script()

    def read(self) -> CameraFrame | None:
        frame = next(self._frames, None)
        if isinstance(frame, BrokenFrameError):
            raise frame
        return frame

    def close(self) -> None:
        self.closed.set()


def image(level: int = 0) -> Frame:
    return np.full((4, 6, 3), level, np.uint8)


def recording(count: int, fps: float = 1000.0) -> Script:
    return lambda: (CameraFrame(image(number), t_s=number / fps) for number in range(count))


def camera(*frames_per_session: int, error: Exception | None = None) -> Script:
    """Each session gives this many frames and then ends or fails; the one after the last goes on."""
    sessions = iter(frames_per_session)

    def run() -> Iterator[CameraFrame]:
        for number in range(next(sessions, 1_000_000)):
            yield CameraFrame(image(number % 256))
            time.sleep(0.002)
        if error:
            raise error

    return run


def hanging(released: threading.Event, *, before: int = 0, sessions: int = 1) -> Script:
    """The first sessions hang after `before` frames until released; pixels hold the session's number."""
    numbers = iter(range(1_000_000))

    def run() -> Iterator[CameraFrame]:
        session = next(numbers)
        for _ in range(before):
            yield CameraFrame(image(session))
        if session < sessions:
            released.wait(WAIT_S)
        while True:
            yield CameraFrame(image(session))
            time.sleep(0.002)

    return run


def start(script: Script, *, live: bool = True, **options: Any) -> Capture:
    return Capture(lambda: ScriptedCamera(script, live=live), **({"retry_wait_s": lambda _: 0.01} | options))


def take(capture: Capture, count: int, *, pause_s: float = 0.0) -> list[TimedFrame]:
    frames: list[TimedFrame] = []
    deadline_s = time.monotonic() + WAIT_S
    while len(frames) < count and not capture.ended:
        assert time.monotonic() < deadline_s, f"only {len(frames)} frames came"
        if (frame := capture.newest(0.05)) is not None:
            frames.append(frame)
            time.sleep(pause_s)
    return frames


def states(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(arg) for record in caplog.records for arg in record.args or () if isinstance(arg, CameraState)]
