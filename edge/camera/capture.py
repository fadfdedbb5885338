"""Keep only the newest frame of a camera: a queue adds unbounded latency.

A reader thread overwrites one slot; a supervisor thread reconnects a camera that fails, ends or stalls, with back-off.
A read that hangs in a driver cannot be interrupted: its thread is abandoned and the camera is opened again beside it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum

from edge.camera.base import Camera, CameraError, CameraFrame, CameraState
from edge.errors import UserError
from edge.images import Frame
from edge.retry import backoff_s
from edge.secrets import redact

log = logging.getLogger(__name__)


class Replay(StrEnum):
    """How to play a recording; cameras are always real time."""

    REALTIME = "realtime"  # at its own speed; frames that arrive while the model is busy are dropped
    EVERY_FRAME = "every-frame"  # as fast as the model runs; no frame is dropped


@dataclass(frozen=True)
class TimedFrame:
    """One frame on its way to the detector."""

    number: int
    """Count of frames read so far, dropped ones included."""
    rgb: Frame
    model_rgb: Frame | None
    """The frame at model size, if already made."""
    t_s: float
    """Position in a recording; for cameras, time since the capture began."""
    captured_s: float
    """Capture time on the `time.monotonic` clock; a result's age counts from here."""


@dataclass
class Session:
    """One connection to the camera, read by one thread."""

    camera: Camera
    frames: int = 0
    last_frame_s: float = field(default_factory=time.monotonic)
    """When the last frame arrived; before the first, when the session began."""
    replay_start_s: float = 0.0
    """When a recording's time 0 was due."""
    done: bool = False
    abandoned: bool = False
    hung: bool = False
    error: CameraError | UserError | None = None


@dataclass(eq=False)
class Capture:
    """Reads a camera in the background. A context manager."""

    make_camera: Callable[[], Camera]
    """Builds the camera for each connection."""
    _: KW_ONLY
    replay: Replay = Replay.REALTIME
    stall_s: float = 10.0
    """A camera without a frame for this long has stalled."""
    reconnect_limit: int | None = None
    """Consecutive failures to tolerate; None for any number."""
    retry_wait_s: Callable[[int], float] = backoff_s
    """Returns the seconds to wait after n consecutive failures."""
    prepare: Callable[[Frame], Frame] | None = None
    """With `Replay.EVERY_FRAME`, makes `TimedFrame.model_rgb` in the reader thread, beside inference."""
    max_hung_reads: int = 3
    """Abandoned reads to tolerate before waiting for one to return; each costs memory."""
    shutdown_grace_s: float = 0.7
    """Time for the threads to end."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._slot: TimedFrame | None = None
        self._stop = False
        self._error: UserError | None = None
        self._name = "camera"
        self._began_s = time.monotonic()
        self._hung_reads = 0
        self._supervisor = threading.Thread(target=self._supervise, name="capture", daemon=True)
        self._reader: threading.Thread | None = None
        self.state = CameraState.CONNECTING
        self.frames = 0
        """Frames read so far."""
        self.connects = 0
        """Connections so far, the first one included."""
        self.broken_frames = 0
        """Frames that could not be decoded."""

    def __enter__(self) -> Capture:
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        # Wait for the reader too, so that it closes the camera; a hung one is left behind.
        deadline_s = time.monotonic() + self.shutdown_grace_s
        for thread in (self._supervisor, self._reader):
            if thread is not None:
                thread.join(max(0.0, deadline_s - time.monotonic()))

    @property
    def ended(self) -> bool:
        """Whether no further frame will come."""
        with self._changed:
            return self.state is CameraState.ENDED and self._slot is None

    def newest(self, timeout_s: float) -> TimedFrame | None:
        """Take the newest frame, waiting for it; None after `timeout_s` or at the end.

        Raises `UserError` if the camera cannot be read and a retry will not help.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self.state is CameraState.ENDED, timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def _supervise(self) -> None:
        """Run sessions until the end; the supervisor thread."""
        try:
            self._run_sessions()
        except UserError as error:
            self._error = error
        self._set_state(CameraState.ENDED)

    def _run_sessions(self) -> None:
        failures = 0
        while not self._stop:
            session = Session(self.make_camera())
            self._name = session.camera.name
            self.connects += 1
            self._set_state(CameraState.RECONNECTING if failures else CameraState.CONNECTING)
            self._reader = threading.Thread(target=self._read, args=(session,), name="camera", daemon=True)
            self._reader.start()
            failure = self._wait_for_failure(session)
            if failure is None or self._stop:
                return
            failures = 1 if session.frames else failures + 1
            if self.reconnect_limit is not None and failures > self.reconnect_limit:
                gave_up = f"; gave up after {failures} failures in a row" if failures > 1 else ""
                raise UserError(redact(failure.problem) + gave_up, failure.remedy)
            wait_s = self.retry_wait_s(failures)
            log.warning("%s; trying again in %.0f s", redact(str(failure)), wait_s)
            with self._changed:
                self._changed.wait_for(lambda: self._stop, wait_s)
                self._changed.wait_for(lambda: self._stop or self._hung_reads < self.max_hung_reads)

    def _wait_for_failure(self, session: Session) -> CameraError | None:
        """Wait for the session to end and return its failure; None at a recording's end. Raises `UserError`."""
        camera = session.camera
        with self._changed:
            while not (session.done or self._stop):
                frame_age_s = time.monotonic() - session.last_frame_s
                if camera.live and frame_age_s >= self.stall_s:
                    self._hung_reads += 1
                    session.abandoned = session.hung = True
                    self._set_state(CameraState.STALLED)
                    return CameraError(f"{camera.name} gave no frame for {self.stall_s:g} s")
                self._changed.wait(self.stall_s - frame_age_s if camera.live else None)
            session.abandoned = True
            self._changed.notify_all()
            if isinstance(session.error, UserError):
                raise session.error
            if session.error is None and camera.live:
                return CameraError(f"{camera.name} ended")
            return session.error

    def _set_state(self, state: CameraState) -> None:
        log.info("%s: %s", self._name, state)
        with self._changed:
            self.state = state
            self._changed.notify_all()

    def _read(self, session: Session) -> None:
        """Read the frames of a session; the reader thread."""
        camera = session.camera
        try:
            camera.open()
            while not session.abandoned and (frame := camera.read()) is not None:
                self._publish(session, frame)
        except (CameraError, UserError) as error:
            session.error = error
        except Exception as error:  # a driver's own exception must not end the run
            log.exception("%s failed unexpectedly", camera.name)
            session.error = CameraError(f"{camera.name} failed ({type(error).__name__}: {error})")
        finally:
            try:
                camera.close()
            except Exception:
                log.exception("%s could not be closed", camera.name)
            with self._changed:
                session.done = True
                self._hung_reads -= session.hung
                self._changed.notify_all()

    def _publish(self, session: Session, frame: CameraFrame) -> None:
        """Put a frame into the slot, a recording's frame when it is due."""
        model_rgb = frame.model_rgb
        if model_rgb is None and self.prepare and self.replay is Replay.EVERY_FRAME:
            model_rgb = self.prepare(frame.rgb)
        with self._changed:
            if not session.frames:
                session.last_frame_s = time.monotonic()
                self._set_state(CameraState.STREAMING)
                session.replay_start_s = session.last_frame_s - (frame.t_s or 0.0)
            if frame.t_s is not None:
                self._wait_until_due(session, frame.t_s)
            if session.abandoned:
                return
            session.last_frame_s = time.monotonic()
            session.frames += 1
            self.frames += 1
            captured_s = session.last_frame_s if frame.captured_s is None else frame.captured_s
            t_s = captured_s - self._began_s if frame.t_s is None else frame.t_s
            self._slot = TimedFrame(self.frames, frame.rgb, model_rgb, t_s, captured_s)
            self._changed.notify_all()

    def _wait_until_due(self, session: Session, t_s: float) -> None:
        """Wait until the slot is free, or in real time until the recording reaches `t_s`."""
        if self.replay is Replay.EVERY_FRAME:
            self._changed.wait_for(lambda: self._slot is None or session.abandoned)
            return
        due_s = session.replay_start_s + t_s
        while (early_s := due_s - time.monotonic()) > 0 and not session.abandoned:
            self._changed.wait(early_s)
