"""The run's side of a model update: tries a new model, watches it, and adopts it or rolls it back by itself.

It does not depend on the process that fetched the model. The loop's thread only counts; a separate thread reads the
links once a second and writes. After a crash or a power cut, the next start does not resume the trial.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge.config import Config
from edge.errors import UserError, reason_of
from edge.messages import Event, FrameResult
from edge.run_status import RunStatus, UpdateStatus
from edge.signals import RunControl
from edge.sinks import Sink
from edge.threads import Worker
from edge.update.failures import FailureEvents
from edge.update.frames import QuietFrames
from edge.update.store import CURRENT, FAILED, MAX_ATTEMPTS, PENDING, TRIAL, ModelStore, Outcome, Trial, model_name
from edge.update.trial import MIN_RESULTS, Observation, objection

log = logging.getLogger(__name__)

POLL_S, RETRY_S = 1.0, 10.0
LOAD_TIMEOUT_S = 360.0  # longer than a reload may take
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CRASHED = "the run crashed or was killed during the trial"
STILL_RUNS = "it still runs, since a reload failed: correct what the log names, then reload"
RESTARTED = "the machine restarted during the trial"


class ModelWatch(Sink):
    """Tries the model that the link `trial` names.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, store: ModelStore, config: Config, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._limits, self._clock = store, config.update, clock
        self._name = model_name(config)
        self._control: RunControl | None = None
        self._publish: Callable[[Event], None] = lambda _: None
        self._failures = FailureEvents(store)
        self._frames = QuietFrames()
        self._seen, self._before = Observation(), Observation()
        self._lock = threading.Lock()
        self._status: RunStatus | None = None
        self._is_clear = False  # no alarm and no fire pixels in the last result
        self._trial: Trial | None = None
        self._began_s = 0.0
        self._watched_since_s: float | None = None  # None until it is loaded
        self._failed_before = 0
        self._current = store.sha256(CURRENT)
        self.rejected = ""
        """SHA-256 of a model whose trial has ended, although the link `trial` could not be removed."""
        self._left = ""  # SHA-256 of the model that a reload was to replace when its trial ended
        self._unwritten = ""  # how that trial ended, and why it could not be written
        self._waits = ""  # why links are not followed now
        self._shown = UpdateStatus()
        self._closing = threading.Event()
        self._worker = Worker("model updates", self._run)

    @property
    def status(self) -> UpdateStatus:
        return replace(self._shown, problem=self._waits or self._shown.problem)

    def connect(self, control: RunControl, publish: Callable[[Event], None]) -> None:
        """Begin, with the control of the run and what publishes its events."""
        self._control, self._publish = control, publish
        self._worker.start()

    def on_result(self, result: FrameResult) -> None:
        now_s = self._clock()
        with self._lock:
            self._seen.add(result, now_s)
        self._is_clear = not any(result.alarms.values()) and not result.fire_share and not result.drill
        self._frames.add(result, now_s)

    def on_status(self, status: RunStatus) -> None:
        self._status = status
        self._failures.publish(self._publish)
        if self._trial and self._watched_since_s is None and status.model_sha256 == self._trial.sha256:
            with self._lock:
                self._before, self._seen = self._seen, Observation()
            self._watched_since_s = self._clock()

    def close(self) -> None:
        self._closing.set()
        self._worker.join(POLL_S)
        if self._trial:
            self._end(Outcome.INTERRUPTED, "the run was stopped", reload=False)
        self._failures.save()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with self._store.lock("run", owner="run"):
                    self._recover()
                    while not self._closing.wait(POLL_S):
                        self.poll()
                        self._waits = ""
            except (OSError, UserError) as error:  # such as a full disk: the links are as they were
                if (text := f"model updates wait: {reason_of(error)}") != self._waits:
                    log.error("%s", text)
                self._waits = text
                self._closing.wait(RETRY_S)

    def poll(self) -> None:
        """Begin, judge or end a trial, and follow the link `current`; about once a second."""
        self._frames.write_if_wanted(self._store.folder)
        if self._trial:
            self._judge(self._trial)
        elif (sha256 := self._store.sha256(TRIAL)) and sha256 != self.rejected:
            if self._is_clear and self._status:
                self._begin(sha256, self._status)
        elif (current := self._store.sha256(CURRENT)) != self._current:
            self._current = current
            self._reload()  # such as after `fireseg-edge update --rollback`
        self._refresh_status()

    def _recover(self) -> None:
        """End a trial that an earlier run began, and did not end."""
        last = self._store.read_trial()
        if self._trial or not last or last.outcome is not Outcome.RUNNING:
            return
        if last.sha256 == self._store.sha256(CURRENT):  # the power was cut while it was adopted
            self._trial = last
            self._end(Outcome.ADOPTED, "", reload=False)
        else:
            self._trial = last
            self._end(Outcome.INTERRUPTED, CRASHED if last.boot_id == boot_id() else RESTARTED, reload=False)

    def _begin(self, sha256: str, status: RunStatus) -> None:
        last = self._store.read_trial()
        attempts = last.attempts + 1 if last and last.sha256 == sha256 else 1
        trial = Trial(sha256, Outcome.RUNNING, attempts=attempts, boot_id=boot_id())
        self._store.write_trial(trial)  # before it is loaded: a crash must not begin it again
        self._failed_before, self._began_s, self._watched_since_s = status.failures.reloads, self._clock(), None
        self._trial = trial
        log.info("model update: trying %s", sha256[:12])
        self._reload()

    def _judge(self, trial: Trial) -> None:
        if self._watched_since_s is None:
            if self._status and self._status.failures.reloads > self._failed_before:
                # The comparison has loaded this model: the cause is often another, such as the configuration.
                self._end(Outcome.INTERRUPTED, "a reload failed, see the log of the run")
            elif self._clock() - self._began_s > LOAD_TIMEOUT_S:
                self._end(Outcome.INTERRUPTED, f"it was not loaded within {LOAD_TIMEOUT_S:g} s")
            return
        if self._store.sha256(TRIAL) != trial.sha256:
            self._end(Outcome.WITHDRAWN, "another model, or none, is to be tried")
            return
        with self._lock:
            problem, results = objection(self._seen, self._before, self._limits), self._seen.results
        if problem:
            self._end(Outcome.ROLLED_BACK, problem)
        elif self._clock() - self._watched_since_s >= self._limits.watch_s and results >= MIN_RESULTS:
            self._end(Outcome.ADOPTED, "")

    def _end(self, outcome: Outcome, problem: str, *, reload: bool = True) -> None:
        """Finish the trial in memory and on disk. What cannot be written leaves the links as they are."""
        assert self._trial
        if outcome is Outcome.INTERRUPTED and self._trial.attempts >= MAX_ATTEMPTS:
            outcome, problem = (
                Outcome.GIVEN_UP,
                f"its trial was interrupted {MAX_ATTEMPTS} times, last because {problem}",
            )
        trial, self._trial = replace(self._trial, outcome=outcome, problem=problem), None
        try:
            if outcome is Outcome.ADOPTED:
                self._store.adopt_trial()
                self._store.note_check("")  # before the verdict, after which the updater writes it
            elif self._store.sha256(TRIAL) == trial.sha256:
                self._store.remove(TRIAL)
            last = self._store.read_trial()
            if last is None or (last.sha256 == trial.sha256 and last.outcome in PENDING):  # or the updater was faster
                self._store.write_trial(trial)
        except (OSError, UserError) as error:
            unwritten = f"{self._store.folder} could not be written ({reason_of(error)})"
            log.error("model update: %s", unwritten)
            if outcome is Outcome.ADOPTED and self._store.sha256(CURRENT) != trial.sha256:
                outcome, problem = Outcome.INTERRUPTED, unwritten
            self.rejected = trial.sha256
            self._unwritten = f"{self._name} {trial.sha256[:12]} was {outcome}: {problem or unwritten}"
        self._current = self._store.sha256(CURRENT)
        if outcome is Outcome.ADOPTED:
            log.info("model update: %s is adopted", trial.sha256[:12])
        elif outcome in FAILED:
            log.error("MODEL UPDATE %s: %s: %s", outcome.upper(), trial.sha256[:12], problem)
        else:
            log.warning("model update: the trial of %s was %s: %s", trial.sha256[:12], outcome, problem)
        if reload and outcome is not Outcome.ADOPTED:
            self._left = trial.sha256
            self._failed_before = self._status.failures.reloads if self._status else 0
            self._reload()

    def _reload(self) -> None:
        if self._control:
            self._control.reload = True

    def _refresh_status(self) -> None:
        last, check = self._store.read_trial(), self._store.read_json("check")
        if self._store.sha256(TRIAL) != self.rejected:
            self.rejected = self._unwritten = ""
        problem = self._unwritten or str(check.get("problem") or "")
        if last and last.has_failed:
            problem = last.line(f"{self._name} {last.sha256[:12]}")
            if self._still_runs(last.sha256):
                problem += f" ({STILL_RUNS})"
        elif self._trial or self._store.sha256(TRIAL) not in ("", self.rejected):  # the earlier problem stays
            self._shown = replace(self._shown, trial=bool(self._trial))
            return
        elif problem and problem != self._shown.problem:
            log.warning("model update: %s", problem)
        self._shown = UpdateStatus(bool(self._trial), problem, str(check.get("succeeded") or ""))
        if self._status:
            self._failures.update(problem, self._status)

    def _still_runs(self, sha256: str) -> bool:
        """Whether the run still uses the model of an ended trial, because the reload that was to replace it failed."""
        status = self._status
        return bool(
            status and self._left == sha256 == status.model_sha256 and status.failures.reloads > self._failed_before
        )


def boot_id() -> str:
    """Return what identifies this boot of the machine; empty where the kernel does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
