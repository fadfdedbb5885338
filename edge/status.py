"""What a run reports about itself: a status to the sinks about once a second, and a summary at its end."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge import threads
from edge.camera.capture import Capture
from edge.control.drill import Drill
from edge.detection.detector import Detector
from edge.errors import counted
from edge.host.throttle import Throttle
from edge.messages import CameraProblem, FrameResult, Silence
from edge.reload import Reloader
from edge.run_status import ArmingStatus, FailureCounts, ReceiverStatus, RunStatus, UpdateStatus
from edge.sinks import Sinks

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 60.0  # growing numbers of failures are logged this often


@dataclass
class Summary:
    """Totals of a run."""

    results: int = 0
    passes: int = 0
    """Runs of the model."""
    dropped: int = 0
    fires: int = 0
    seconds: float = 0.0
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    """Ages of the last results."""

    def line(self, source: str) -> str:
        """Return the line that a run ends with."""
        age = f", median age {statistics.median(self.ages_ms):.0f} ms" if self.ages_ms else ""
        if not self.results:
            return f"{source}: no frame was seen in {self.seconds:.1f} s"
        fires = "no fire" if not self.fires else counted(self.fires, "fire")
        rate = self.results / self.seconds if self.seconds else 0.0
        passes = f"{self.passes / self.results:.2f} passes per frame"
        totals = f"{rate:.1f} per second, {self.dropped} dropped{age}, {passes}"
        return f"{source}: {counted(self.results, 'frame')} in {self.seconds:.1f} s ({totals}), {fires}"


@dataclass(eq=False)
class StatusReporter:
    """Sends the status of a run to the sinks: at the start, then once per interval, with or without frames."""

    capture: Capture
    sinks: Sinks
    throttle: Throttle
    detector: Detector
    reloader: Reloader
    arming: Callable[[], ArmingStatus] = ArmingStatus
    clock: Callable[[], float] = time.monotonic
    interval_s: float = 1.0
    drill: Drill | None = None
    failed_saves: Callable[[], int] = lambda: 0
    """Returns how often what people chose could not be saved."""
    update: Callable[[], UpdateStatus | None] = lambda: None

    def __post_init__(self) -> None:
        self._started_s = self._last_result_s = self.clock()
        self._reported_s: float | None = None
        self._reported_results, self._fps = 0, 0.0
        self._silence: Silence | None = None
        self._problem: CameraProblem | None = None
        self._infrared = self._paused = False
        self._problem_since_s = self._started_s
        self._logged_s, self._logged = self._started_s, ""
        self._logged_zoom = 1
        self._restarts_before = threads.restarts()  # by an earlier run of this process

    def result_done(self, result: FrameResult) -> None:
        """Note that a result reached the sinks."""
        self._last_result_s = self.clock()
        if result.camera_problem is not self._problem:
            self._problem, self._problem_since_s = result.camera_problem, self._last_result_s
        if result.infrared != self._infrared:
            light = "infrared: frames have no colour" if result.infrared else "frames have colour again"
            log.info("%s%s", light, "; detection is paused" if result.paused else "")
        self._infrared, self._paused = result.infrared, result.paused

    def report(self, summary: Summary) -> None:
        """Send a status if one is due, or at once after the alarm was armed or silenced."""
        now_s = self.clock()
        elapsed_s = float("inf") if self._reported_s is None else now_s - self._reported_s
        arming = self.arming()
        if elapsed_s >= self.interval_s:
            self._fps = (summary.results - self._reported_results) / elapsed_s
        elif arming.silence == self._silence:
            return
        self._silence = arming.silence
        threads.restart_missing()
        status = RunStatus(
            source=self.detector.events.source,
            camera_state=self.capture.state,
            connects=self.capture.connects,
            running_s=now_s - self._started_s,
            results=summary.results,
            dropped=summary.dropped,
            fps=self._fps,
            last_result_age_s=now_s - self._last_result_s,
            machine=self.throttle.machine,
            model_sha256=self.detector.events.model_sha256,
            receivers=self.sinks.receivers(),
            failures=FailureCounts(
                reloads=self.reloader.failed,
                thread_restarts=threads.restarts() - self._restarts_before,
                missing_threads=tuple(threads.missing()),
                lost_files=self.sinks.lost_files() + self.failed_saves(),
                broken_frames=self.capture.broken_frames,
                late_writes=self.sinks.late_writes,
            ),
            infrared=self._infrared,
            paused=self._paused,
            fine_view=self.detector.fine_view,
            camera_problem=self._problem,
            camera_problem_for_s=now_s - self._problem_since_s if self._problem else 0.0,
            arming=arming,
            fallback=self.reloader.fallback,
            flatbuffer_sha256=self.detector.flatbuffer_sha256,
            quiet=self.detector.quiet,
            drill=self.drill.status if self.drill else None,
            update=self.update(),
        )
        self._reported_s, self._reported_results = now_s, summary.results
        self.sinks.on_status(status)
        self._log_failures(status, now_s)
        self._log_fine_view(status)

    def _log_fine_view(self, status: RunStatus) -> None:
        """Log how the frame is covered in tiles, if the zoom has changed."""
        zoom = status.fine_view.zoom if status.fine_view else 1
        if zoom != self._logged_zoom:
            self._logged_zoom = zoom
            log.info("tiles: %s", status.fine_view or "only the whole frame is seen")

    def _log_failures(self, status: RunStatus, now_s: float) -> None:
        """Log the failures so far, if they have changed."""
        text = failures_text(status.failures, status.receivers)
        if text != self._logged and now_s - self._logged_s >= LOG_INTERVAL_S:
            self._logged_s, self._logged = now_s, text
            log.warning("since the start: %s", text or "no thread is missing any more")


def failures_text(failures: FailureCounts, receivers: Sequence[ReceiverStatus]) -> str:
    """Return the failures, such as "lost files: 2, events dropped for mqtt: 1"; empty if there are none."""
    counts = {
        "broken frames": failures.broken_frames,
        "lost files": failures.lost_files,
        "late writes of events": failures.late_writes,
        "rejected reloads": failures.reloads,
        "thread restarts": failures.thread_restarts,
    }
    for receiver in receivers:
        counts[f"events dropped for {receiver.name}"] = receiver.dropped
        counts[f"events set aside for {receiver.name}"] = receiver.dead_letters
    parts = [f"{name}: {count}" for name, count in counts.items() if count]
    return ", ".join([*parts, *(f"missing thread: {name}" for name in failures.missing_threads)])
