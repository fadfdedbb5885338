"""The steps of `fireseg-edge update`: check, download, compare, hand over to the run for a trial, wait for its verdict.

A kill at any step leaves the model in use, and the next call begins again. Nothing is used that the run has not tried.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.config import Config
from edge.errors import UserError
from edge.files import sha256
from edge.update.client import Published, Repository
from edge.update.comparison import Comparison, compare
from edge.update.store import (
    CURRENT,
    FAILED,
    FRAMES,
    FRAMES_WANTED,
    MAX_ATTEMPTS,
    PENDING,
    TRIAL,
    Outcome,
    Trial,
    describe_model,
    open_store,
    unwritable,
)

FRAMES_WAIT_S = 15.0
VERDICT_GRACE_S = 900.0  # beyond watch_s: an alarm, or a camera that cannot see, delays the verdict
POLL_S = 0.5

Step = Callable[[str], None]
"""Called before each step with its name; tests end the process there."""


@dataclass(frozen=True)
class Report:
    """What an update did."""

    result: str
    """up to date, available, not rolled out yet, adopted, no verdict yet, or another `Outcome`."""
    model: str
    problem: str = ""
    comparison: Comparison | None = None

    @property
    def is_good(self) -> bool:
        return not self.problem

    @property
    def failure(self) -> str:
        """Return the failure to report; empty if the update will be retried."""
        return f"{self.model} was {self.result}: {self.problem}" if self.result in FAILED else ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class NotTriedError(UserError):
    """The published model is not tried: it has failed before, its owner rolled it back, or no run is active.

    Args:
        failure: the failure to report; empty for none.
    """

    def __init__(self, problem: str, remedy: str, failure: str = "") -> None:
        super().__init__(problem, remedy)
        self.failure = failure


class Update:
    """One call of `fireseg-edge update`. Its methods raise `UserError`.

    Args:
        config: with [update] url.
        step: called before each step.
        now: the wall clock in UTC, for the report of the last check.

    Example:
        >>> Update(load_config(Path("fireseg.toml"))).run()
        Report(result='adopted', …)
    """

    def __init__(
        self,
        config: Config,
        *,
        step: Step = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        store = open_store(config)
        if store is None:
            raise UserError("model updates are off", "set [update] url and root in the configuration")
        self._config, self._store, self._step, self._now, self._clock = config, store, step, now, clock
        self._asked: dict[str, str] = {}
        """When the repository was asked with success."""

    def run(self, *, retry: bool = False) -> Report:
        """Fetch, compare and try the published model; note for the run how it went.

        Args:
            retry: also try a model that was rolled back.
        """
        with self._exclusive():
            try:
                report = self._update(retry)
            except NotTriedError as error:
                self._note(error.failure)
                raise
            except (UserError, OSError) as error:
                self._note(str(unwritable(self._store.folder, error) if isinstance(error, OSError) else error))
                raise
            self._note(report.failure, is_good=report.is_good)
        return report

    def check(self) -> Report:
        """Return what an update would do; downloads metadata only."""
        with self._exclusive():
            repository = Repository(self._config, self._store)
            published = repository.latest()
            repository.check(published)
            return self._nothing_to_do(published) or Report("available", self._name(published.sha256))

    def roll_back(self) -> Report:
        """Use the previous model, or else the installed one, and do not try the current one again."""
        with self._exclusive():
            trial, current = self._store.sha256(TRIAL), self._store.sha256(CURRENT)
            if not trial and not current:
                raise UserError(f"{self._name('')} is in use, there is nothing to roll back", "run `update` first")
            given_up = trial or current
            if trial:
                self._store.remove(TRIAL)  # the run sees it, and ends its trial
                wait(lambda: not self._is_running_trial(trial), FRAMES_WAIT_S, self._clock)
            else:
                self._store.roll_back()
            self._store.write_trial(Trial(given_up, Outcome.BY_HAND))
            self._store.note_check("")
            return Report("rolled back", self._name(self._store.sha256(CURRENT)))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let no other update run, and turn what the disk reports into one line."""
        self._store.check_user()
        with self._store.lock("update", owner="`fireseg-edge update`"):
            try:
                yield
            except OSError as error:
                raise unwritable(self._store.folder, error) from error

    def _update(self, retry: bool) -> Report:
        self._step("check")
        repository = Repository(self._config, self._store)
        published = repository.latest()
        self._asked = {"succeeded": self._now().isoformat(timespec="seconds")}
        last = self._store.read_trial()
        if last and last.has_failed and last.sha256 != published.sha256:
            self._note(last.line(self._name(last.sha256)))  # until this update is done
            self._store.forget_trial()  # that model is not published any more
        if report := self._nothing_to_do(published):
            if report.result == "up to date":
                self._store.forget_trial()
            if self._store.sha256(TRIAL):
                self._store.remove(TRIAL)  # of a model that is not published any more
            return report
        if not retry:
            self._refuse_rolled_back(published.sha256)
        repository.check(published)
        if not self._store.is_locked("run"):
            raise NotTriedError(
                "no run is active to try the model", "start one with the same [update] table, then try again"
            )
        if self._store.sha256(TRIAL) != published.sha256:
            self._store.delete_unused()
        self._step("download")
        path = repository.fetch(published)
        self._step("compare")
        comparison = self._compare(path)
        if problem := comparison.objection(self._config.update.max_slower, self._config.update.max_marked):
            return Report("rolled back", self._name(published.sha256), problem, comparison)
        return self._try(published.sha256, comparison)

    def _nothing_to_do(self, published: Published) -> Report | None:
        name = self._name(published.sha256)
        if published.sha256 == sha256(self._model_in_use()):
            return Report("up to date", name)
        if not published.is_for_this_machine:
            return Report("not rolled out yet", name)
        return None

    def _model_in_use(self) -> Path:
        """Return the file of the current model, or the installed one if that is missing or damaged."""
        current = self._store.sha256(CURRENT)
        path = self._store.model(current)
        return path if path.is_file() and sha256(path) == current else self._config.model.file

    def _refuse_rolled_back(self, published: str) -> None:
        last = self._store.read_trial()
        if last is None or last.sha256 != published:
            return
        model, remedy = self._name(published), "publish another model, or pass --retry to try it again"
        if last.outcome is Outcome.BY_HAND:
            raise NotTriedError(f"{model} was {last.outcome}", remedy)
        if last.has_failed:
            raise NotTriedError(f"{model} was {last.outcome} ({last.problem})", remedy, last.line(model))

    def _compare(self, path: Path) -> Comparison:
        """Compare with the model in use, on the frames without an alarm that the run keeps."""
        wanted, frames = self._store.folder / FRAMES_WANTED, self._store.folder / FRAMES
        try:
            wanted.touch(mode=0o600)
            wait(lambda: not wanted.exists(), FRAMES_WAIT_S, self._clock)
            return compare(self._model_in_use(), path, frames)
        except OSError as error:
            raise UserError(f"{wanted} could not be written ({error.strerror})", "free some space") from error
        finally:
            wanted.unlink(missing_ok=True)
            shutil.rmtree(frames, ignore_errors=True)

    def _try(self, model: str, comparison: Comparison) -> Report:
        """Let the run try the model, and return its verdict."""
        self._step("link")
        if self._store.sha256(TRIAL) != model:
            self._forget_verdict(model)
            self._store.point(TRIAL, model)
        self._step("trial")
        limit_s = self._config.update.watch_s + VERDICT_GRACE_S
        wait(lambda: not self._store.sha256(TRIAL) or not self._store.is_locked("run"), limit_s, self._clock)
        wait(lambda: self._has_verdict(model), FRAMES_WAIT_S, self._clock)
        last = self._store.read_trial()
        if not last or last.sha256 != model or last.outcome in PENDING:
            return Report("no verdict yet", self._name(model), "the run decides by itself, see its log", comparison)
        self._step("verdict")
        problem = last.problem
        if last.outcome is Outcome.INTERRUPTED:
            problem += f"; attempt {last.attempts} of {MAX_ATTEMPTS}: the next update tries it again"
        return Report(last.outcome.value, self._name(model), problem, comparison)

    def _forget_verdict(self, model: str) -> None:
        """Count the trial that begins, so that an earlier verdict is not taken for its own."""
        last = self._store.read_trial()
        attempts = last.attempts if last and last.sha256 == model and last.outcome is Outcome.INTERRUPTED else 0
        self._store.write_trial(Trial(model, Outcome.WAITING, attempts=attempts))

    def _has_verdict(self, model: str) -> bool:
        last = self._store.read_trial()
        return bool(last and last.sha256 == model and last.outcome not in PENDING)

    def _is_running_trial(self, model: str) -> bool:
        return self._store.is_locked("run") and not self._has_verdict(model)

    def _name(self, model: str) -> str:
        return describe_model(self._config, model)

    def _note(self, problem: str, *, is_good: bool = False) -> None:
        """Leave the result for the run's page and metrics. Raises `UserError` if that of a good update is not saved."""
        try:
            self._store.note_check(problem, **self._asked)
        except (OSError, UserError) as error:
            if is_good:
                raise UserError(
                    f"the update succeeded, but its result could not be saved ({error})", "free some space"
                ) from error


def wait(condition: Callable[[], bool], limit_s: float, clock: Callable[[], float]) -> None:
    """Wait until a condition is true, or the time is over."""
    deadline_s = clock() + limit_s
    while not condition() and clock() < deadline_s:
        time.sleep(POLL_S)
