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

from edge.camera.base import BrokenFrameError, Camera, CameraError, CameraFrame, CameraState
from edge.camera.replay import MAX_GAP_S, Replay, ReplayClock
from edge.errors import UserError, counted, reason_of
from edge.images import Frame
from edge.retry import backoff_s
from edge.secrets import redact
from edge.threads import Worker

log = logging.getLogger(__name__)

MAX_BROKEN = 10  # broken frames in a row before a camera counts as failed; single ones are transmission errors
LOGGED_FAILURES, LOGGED_EVERY = 8, 60  # each failure until the back-off is at its longest, then about one an hour
HUNG = "%s: %d reads hang; the next try is in %.0f s, or restart the program or the camera"
BROKEN_LOGGED = {10**power for power in range(12)}


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
    drill_box: tuple[float, float, float, float] | None = None
    """Where a fire drill paints a flame: left, top, right and bottom as fractions of the frame."""


@dataclass
class Session:
    """One connection to the camera, read by one thread."""

    camera: Camera
    frames: int = 0
    last_frame_s: float = field(default_factory=time.monotonic)
    """When the last frame arrived; before the first, when the session began."""
    broken: int = 0
    """Broken frames since the last whole one."""
    replay: ReplayClock | None = None
    done: bool = False
    abandoned: bool = False
    hung: bool = False
    error: CameraError | UserError | None = None


@dataclass(eq=False)
class Capture:
    """Reads a camera in the background. A context manager."""

    make_camera: Callable[[], Camera]
    """Builds the camera for each connection. After the first one, its `UserError` is a failure of the camera."""
    _: KW_ONLY
    replay: Replay = Replay.REALTIME
    stall_s: float = 10.0
    """A camera without a frame for this long has stalled."""
    reconnect_limit: int | None = None
    """Reconnections in a row without a frame before giving up; None for any number."""
    retry_wait_s: Callable[[int], float] = backoff_s
    """Returns the seconds to wait after n consecutive failures."""
    prepare: Callable[[Frame], Frame] | None = None
    """With `Replay.EVERY_FRAME`, makes `TimedFrame.model_rgb` in the reader thread, beside inference."""
    max_hung_reads: int = 3
    """Abandoned reads after which the camera is reopened more slowly; each costs memory."""
    hung_wait_s: float = 600.0
    """Time to wait for one of too many hung reads to return before the camera is opened again."""
    max_gap_s: float = MAX_GAP_S
    """Longest wait between two frames of a recording in real time."""
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
        self._failures = 0  # in a row
        self._supervisor = Worker("capture", self._supervise, wait_s=self.retry_wait_s)
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

    def check(self, totals: str = "") -> None:
        """Raise the `UserError` that ended the capture, if any, after logging `totals`."""
        if self.ended and self._error is not None:
            if totals:
                log.info("%s", totals)
            raise self._error

    @property
    def ended(self) -> bool:
        """Whether no further frame will come."""
        with self._changed:
            return self.state is CameraState.ENDED and self._slot is None

    def newest(self, timeout_s: float) -> TimedFrame | None:
        """Take the newest frame, waiting for it; None after `timeout_s` or at the end, whose reason `check` raises."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self.state is CameraState.ENDED, timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            return frame

    def _supervise(self) -> None:
        """Run sessions until the end; the supervisor thread."""
        try:
            self._run_sessions()
        except UserError as error:
            self._error = error
        self._set_state(CameraState.ENDED)

    def _run_sessions(self) -> None:
        while not self._stop:
            try:
                failure = self._run_session()
            except CameraError as error:
                failure, self._failures = error, self._failures + 1
            if failure is None or self._stop:
                return
            if self.reconnect_limit is not None and self._failures > self.reconnect_limit:
                limit = self.reconnect_limit
                gave_up = f"; gave up after {counted(limit, 'reconnection')} without a frame" if limit else ""
                raise UserError(redact(failure.problem) + gave_up, failure.remedy)
            wait_s = self.retry_wait_s(self._failures)
            is_logged = self._failures < LOGGED_FAILURES or self._failures % LOGGED_EVERY == 0
            level = logging.WARNING if is_logged else logging.DEBUG
            log.log(level, "%s; trying again in %.0f s", redact(str(failure)), wait_s)
            with self._changed:
                self._changed.wait_for(lambda: self._stop, wait_s)
                if self._hung_reads == self.max_hung_reads:
                    log.error(HUNG, self._name, self._hung_reads, self.hung_wait_s)
                self._changed.wait_for(lambda: self._stop or self._hung_reads < self.max_hung_reads, self.hung_wait_s)

    def _run_session(self) -> CameraError | None:
        """Connect and read until a failure, which is returned; None at a recording's end. Raises `UserError`."""
        try:
            session = Session(self.make_camera())
        except UserError as error:
            if not self.connects:
                raise
            self._set_state(CameraState.RECONNECTING)
            raise CameraError(error.problem, error.remedy) from None  # a file may be about to be replaced
        self._name = session.camera.name
        self.connects += 1
        self._set_state(CameraState.RECONNECTING if self._failures else CameraState.CONNECTING)
        self._reader = threading.Thread(target=self._read, args=(session,), name="camera", daemon=True)
        try:
            self._reader.start()
        except (RuntimeError, MemoryError) as error:  # the system's limit of threads or of memory
            self._reader = None
            problem = f"{self._name} cannot be read ({error})"
            raise CameraError(problem, "end other programs, or raise the limit") from None
        failure = self._wait_for_failure(session)
        self._failures = 1 if session.frames else self._failures + 1
        if failure is None and self.broken_frames and not self._stop:
            problem = f"{self._name} contains {counted(self.broken_frames, 'broken frame')}"
            raise UserError(problem, "see the log; copy or download it again")
        return failure

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
                    return CameraError(f"{camera.name} sent no frame for {self.stall_s:g} s")
                self._changed.wait(self.stall_s - frame_age_s if camera.live else None)
            session.abandoned = True
            self._changed.notify_all()
            if isinstance(session.error, UserError):
                raise session.error
            if session.error is None and camera.live:
                return CameraError(f"{camera.name} ended")
            return session.error

    def _set_state(self, state: CameraState) -> None:
        with self._changed:
            if state is CameraState.CONNECTING or state is not self.state:
                log.info("%s: %s", self._name, state)
            self.state = state
            self._changed.notify_all()

    def _read(self, session: Session) -> None:
        """Read the frames of a session; the reader thread."""
        camera = session.camera
        try:
            camera.open()
            while not session.abandoned:
                try:
                    frame = camera.read()
                except BrokenFrameError as error:
                    self._count_broken(session, error)
                    continue
                if frame is None:
                    break
                self._publish(session, frame)
        except (CameraError, UserError) as error:
            session.error = error
        except Exception as error:  # a driver's own exception must not end the run
            log.debug("traceback", exc_info=error)
            session.error = CameraError(f"{camera.name} failed ({reason_of(error)})")
        finally:
            try:
                camera.close()
            except Exception as error:
                log.warning("%s could not be closed (%s)", camera.name, reason_of(error))
            with self._changed:
                session.done = True
                self._hung_reads -= session.hung
                self._changed.notify_all()

    def _count_broken(self, session: Session, error: BrokenFrameError) -> None:
        """Count and log a broken frame: each of a recording, of a camera only the 1st, 10th, 100th … of the run."""
        session.broken += 1
        self.broken_frames += error.count
        if not session.camera.live:
            log.warning("%s", redact(str(error)))
            return
        if self.broken_frames in BROKEN_LOGGED:
            log.warning("%s; broken frames so far: %d", redact(str(error)), self.broken_frames)
        if session.broken == MAX_BROKEN:
            raise CameraError(f"{session.camera.name} sent {MAX_BROKEN} broken frames in a row ({error})")

    def _publish(self, session: Session, frame: CameraFrame) -> None:
        """Put a frame into the slot, a recording's frame when it is due."""
        model_rgb = frame.model_rgb
        if model_rgb is None and self.prepare and self.replay is Replay.EVERY_FRAME:
            model_rgb = self.prepare(frame.rgb)
        with self._changed:
            if not session.frames:
                session.replay = ReplayClock(self._name, time.monotonic(), frame.t_s or 0.0, self.max_gap_s)
            if frame.t_s is not None:
                self._wait_until_due(session, frame.t_s)
            if session.abandoned:  # its read hung for too long: another session has taken over, or none will
                return
            if not session.frames:
                self._set_state(CameraState.STREAMING)
            session.last_frame_s = time.monotonic()
            session.frames += 1
            session.broken = 0
            self.frames += 1 + frame.skipped
            captured_s = session.last_frame_s if frame.captured_s is None else frame.captured_s
            t_s = captured_s - self._began_s if frame.t_s is None else frame.t_s
            self._slot = TimedFrame(self.frames, frame.rgb, model_rgb, t_s, captured_s)
            self._changed.notify_all()

    def _wait_until_due(self, session: Session, t_s: float) -> None:
        """Wait until the slot is free, or in real time until the recording reaches `t_s`."""
        if self.replay is Replay.EVERY_FRAME:
            self._changed.wait_for(lambda: self._slot is None or session.abandoned)
            return
        due_s = session.replay.due_s(t_s) if session.replay else 0.0
        while (early_s := due_s - time.monotonic()) > 0 and not session.abandoned:
            self._changed.wait(early_s)
