"""The newest frame of a source, and nothing older: a queue between camera and model lets the picture lag ever more.

One thread reads the source and overwrites the one frame that waits; another watches over it. A camera that fails,
ends or stands still is opened again, after waits that grow, for ever or up to a limit. A read that hangs in a driver
cannot be ended from outside; its thread is left behind, and the source is opened anew beside it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edge.camera.base import Camera, CameraError, CameraFrame, CameraState
from edge.errors import UserError
from edge.images import Frame
from edge.retry import backoff_s
from edge.secrets import redact

log = logging.getLogger(__name__)

MAX_HANGING = 3
"""Threads left behind in reads that hang: more would only eat memory. Then nothing is opened until one comes back."""
CLOSE_WAIT_S = 0.7


class Replay(StrEnum):
    """How a recording is played; cameras are always in real time."""

    REALTIME = "realtime"  # at its own speed, as a camera: what comes while the model is busy is dropped
    EVERY_FRAME = "every-frame"  # as fast as the model goes, nothing dropped


@dataclass(frozen=True)
class TimedFrame:
    """One frame on its way to the model."""

    number: int
    """How many frames the source had given with this one, dropped ones included."""
    rgb: Frame
    small: Frame | None
    t_s: float
    """The recording's own time; for cameras, seconds since the capture began."""
    captured_s: float
    """When it was taken, by `time.monotonic`: its age is counted from here."""


class Attempt:
    """One opening of the source, by a thread of its own."""

    def __init__(self, source: Camera) -> None:
        self.source = source
        self.frames = 0
        self.alive_s = time.monotonic()
        """When it last gave a sign of life."""
        self.paced_from_s = 0.0
        """When a recording's time 0 was, or would have been."""
        self.done = False
        self.abandoned = False
        self.error: Exception | None = None


class Capture:
    """Reads a source in the background. Use as a context manager.

    Args:
        make: gives the source anew for each opening.
        replay: how a recording is played.
        stall_s: a camera without a frame for so long has stalled.
        reconnect_limit: how many failures in a row to bear with; None for any number.
        wait_s: how long to wait after so many failures in a row.
        prepare: makes a frame's `small`, beside the model instead of before it, where no frame is dropped anyway.
    """

    def __init__(
        self,
        make: Callable[[], Camera],
        *,
        replay: Replay = Replay.REALTIME,
        stall_s: float = 10.0,
        reconnect_limit: int | None = None,
        wait_s: Callable[[int], float] = backoff_s,
        prepare: Callable[[Frame], Frame] | None = None,
    ) -> None:
        self._make = make
        self._replay = replay
        self._stall_s = stall_s
        self._reconnect_limit = reconnect_limit
        self._wait_s = wait_s
        self._prepare = prepare if replay is Replay.EVERY_FRAME else None
        self._changed = threading.Condition()
        self._slot: TimedFrame | None = None
        self._stop = False
        self._error: UserError | None = None
        self._began_s = time.monotonic()
        self._hanging: list[Attempt] = []
        self._watcher = threading.Thread(target=self._watch, name="capture", daemon=True)
        self._reader: threading.Thread | None = None
        self.state = CameraState.CONNECTING
        self.frames = 0
        """Frames that the source gave so far."""
        self.connects = 0
        """How often the source was opened."""

    def __enter__(self) -> Capture:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        # The reading thread too, so that the camera is closed; one that hangs in its driver is left to itself.
        gives_up_s = time.monotonic() + CLOSE_WAIT_S
        for thread in (self._watcher, self._reader):
            if thread is not None:
                thread.join(max(0.0, gives_up_s - time.monotonic()))

    @property
    def ended(self) -> bool:
        """Whether no further frame will come."""
        with self._changed:
            return self.state is CameraState.ENDED and self._slot is None

    def newest(self, timeout_s: float) -> TimedFrame | None:
        """Take the newest frame, waiting for one; None where none came in time, or none will.

        Raises `UserError` where the source cannot be read and trying again will not help.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self.state is CameraState.ENDED, timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            return frame

    # The watching thread.

    def _watch(self) -> None:
        failures = 0
        while True:
            try:
                attempt = Attempt(self._make())
            except UserError as error:
                self._end(error)
                return
            name = attempt.source.name
            self.connects += 1
            self._show(CameraState.RECONNECTING if failures else CameraState.CONNECTING, name)
            self._reader = threading.Thread(target=self._read, args=(attempt,), name="camera", daemon=True)
            self._reader.start()
            trouble = self._wait_for_trouble(attempt)
            if trouble is None or self._stop:
                self._end(attempt.error if isinstance(attempt.error, UserError) else None, name)
                return
            failures = 1 if attempt.frames else failures + 1
            if self._reconnect_limit is not None and failures > self._reconnect_limit:
                gave_up = f"; gave up after {failures} failures in a row" if failures > 1 else ""
                self._end(UserError(f"{trouble}{gave_up}"), name)
                return
            wait_s = self._wait_s(failures)
            log.warning("%s; trying again in %.0f s", trouble, wait_s)
            with self._changed:
                self._changed.wait_for(lambda: self._stop, wait_s)
                self._hanging = [hung for hung in self._hanging if not hung.done]
                self._changed.wait_for(lambda: self._stop or sum(not hung.done for hung in self._hanging) < MAX_HANGING)
                if self._stop:
                    return

    def _wait_for_trouble(self, attempt: Attempt) -> str | None:
        """Wait until an attempt is over. What was wrong; None where a recording ended, or we were told to stop."""
        source = attempt.source
        with self._changed:
            while not (attempt.done or self._stop):
                last_result_age_s = time.monotonic() - attempt.alive_s
                if source.live and last_result_age_s >= self._stall_s:
                    self._hanging.append(attempt)
                    attempt.abandoned = True
                    self._show(CameraState.STALLED, source.name)
                    return f"{source.name} gave no frame for {self._stall_s:g} s"
                self._changed.wait(self._stall_s - last_result_age_s if source.live else None)
            attempt.abandoned = True
            self._changed.notify_all()
            if self._stop or isinstance(attempt.error, UserError):
                return None
            if attempt.error is None:
                return f"{source.name} ended" if source.live else None
            return redact(str(attempt.error))

    def _end(self, error: UserError | None, name: str = "source") -> None:
        with self._changed:
            self._error = error
            self._show(CameraState.ENDED, name)
            self._changed.notify_all()

    def _show(self, state: CameraState, name: str) -> None:
        self.state = state
        log.info("%s: %s", name, state)

    # The reading thread.

    def _read(self, attempt: Attempt) -> None:
        source = attempt.source
        try:
            source.open()
            while not attempt.abandoned and (shot := source.read()) is not None:
                self._offer(attempt, shot)
        except (CameraError, UserError) as error:
            attempt.error = error
        except Exception as error:  # a driver's own kind of failure must not end the watch
            log.exception("%s failed unexpectedly", source.name)
            attempt.error = CameraError(f"{source.name} failed ({type(error).__name__}: {error})")
        finally:
            try:
                source.close()
            except Exception:
                log.exception("%s could not be closed", source.name)
            with self._changed:
                attempt.done = True
                self._changed.notify_all()

    def _offer(self, attempt: Attempt, shot: CameraFrame) -> None:
        """Put a frame where `newest` finds it, at the time it is due."""
        small = shot.small
        if small is None and self._prepare is not None:
            small = self._prepare(shot.rgb)
        with self._changed:
            if not attempt.frames:
                attempt.alive_s = time.monotonic()
                self._show(CameraState.STREAMING, attempt.source.name)
                attempt.paced_from_s = attempt.alive_s - (shot.t_s or 0.0)
            if shot.t_s is not None:
                if self._replay is Replay.EVERY_FRAME:
                    self._changed.wait_for(lambda: self._slot is None or attempt.abandoned)
                else:
                    due_s = attempt.paced_from_s + shot.t_s
                    while (early_s := due_s - time.monotonic()) > 0 and not attempt.abandoned:
                        self._changed.wait(early_s)
            if attempt.abandoned:
                return
            now_s = time.monotonic()
            attempt.alive_s = now_s
            attempt.frames += 1
            self.frames += 1
            captured_s = now_s if shot.captured_s is None else shot.captured_s
            t_s = captured_s - self._began_s if shot.t_s is None else shot.t_s
            self._slot = TimedFrame(self.frames, shot.rgb, small, t_s, captured_s)
            self._changed.notify_all()
