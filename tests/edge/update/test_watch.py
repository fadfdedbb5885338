"""A run judges a new model by its own results: it begins when no fire is in view, and counts only quiet frames."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from edge.config import Config, load_config
from edge.config_tables import UpdateSection
from edge.files import sha256
from edge.messages import CameraProblem, FrameResult
from edge.reload import prepare
from edge.signals import RunControl
from edge.update.frames import KEPT, QuietFrames
from edge.update.store import CURRENT, FRAMES_WANTED, TRIAL, ModelStore, Outcome, model_files
from edge.update.trial import MIN_RESULTS, Observation, objection
from edge.update.watch import ModelWatch
from tests.support.factories import result, run_status
from tests.support.model_repository import INSTALLED
from tests.support.waiting import wait_for

LIMITS = UpdateSection(max_slower=1.5, max_marked=0.05)


def quiet(share: float = 0.0, *, ms: float = 10.0, alarm: bool = False) -> FrameResult:
    return replace(result(1.0, share, on=alarm), inference_ms=ms, fire_share=share)


def observed(results: list[FrameResult]) -> Observation:
    seen = Observation()
    for number, each in enumerate(results):
        seen.add(each, number * 0.1)
    return seen


def quiet_seconds(seconds: float, **options: float) -> list[FrameResult]:
    return [quiet(**options) for _ in range(round(10 * seconds))]  # type: ignore[arg-type]


def test_a_model_is_slower_or_marks_too_much_only_beside_the_old_one() -> None:
    old = observed(quiet_seconds(20))
    assert not objection(observed(quiet_seconds(20, ms=14.9)), old, LIMITS)
    assert "15.1 ms per pass" in objection(observed(quiet_seconds(20, ms=15.1)), old, LIMITS)
    marking = observed(quiet_seconds(20, share=0.002))
    assert "100.0% of the frames" in objection(marking, old, LIMITS)
    assert not objection(marking, marking, LIMITS), "a lamp that both detect is not the new model's fault"
    few = observed(quiet_seconds(MIN_RESULTS / 10 - 1, share=0.002, ms=100))
    assert not objection(few, old, LIMITS), "too early to judge"


def test_a_fire_and_the_seconds_before_it_do_not_speak_against_a_model() -> None:
    fire = [*quiet_seconds(30), *quiet_seconds(9, share=0.1), *[quiet(0.1, alarm=True)] * 300, *quiet_seconds(30)]
    assert observed(fire).marked_fraction == 0.0
    covered = [replace(quiet(0.1), camera_problem=CameraProblem.COVERED)] * 300
    assert observed([*quiet_seconds(30), *covered, *quiet_seconds(30)]).marked_fraction == 0.0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


Started = tuple[ModelStore, ModelWatch, RunControl, Clock, str]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """A run with a new model at the link `trial`; nothing runs in the background."""
    (tmp_path / "r").touch()
    (tmp_path / "fireseg.toml").write_text(
        f'[model]\npath = "{INSTALLED}"\n[update]\nurl = "http://h"\nroot = "r"\nmodel = "base"\nfolder = "m"\n'
    )
    config: Config = load_config(tmp_path / "fireseg.toml")
    store, control, clock = ModelStore(tmp_path / "m" / "base"), RunControl(), Clock()
    store.folder.mkdir(parents=True)
    model = sha256(INSTALLED)
    shutil.copy(INSTALLED, store.model(model))
    store.point(TRIAL, model)
    watch = ModelWatch(store, config, clock=clock)
    watch._control = control
    watch.on_status(run_status())
    return store, watch, control, clock, model


def feed(watch: ModelWatch, clock: Clock, results: list[FrameResult]) -> None:
    for each in results:
        clock.now_s += 0.1
        watch.on_result(each)
    watch.poll()


def test_a_trial_waits_until_no_fire_is_in_view(started: Started) -> None:
    _, watch, control, clock, _ = started
    feed(watch, clock, [quiet(0.1, alarm=True)])
    assert not control.reload
    feed(watch, clock, [quiet(0.01)])
    assert not control.reload
    feed(watch, clock, [quiet()])
    assert control.reload
    assert watch.status.trial


def tried(started: Started) -> Callable[[list[FrameResult]], None]:
    """Begin the trial and return a function that lets results pass."""
    _, watch, control, clock, model = started
    feed(watch, clock, quiet_seconds(20))
    assert control.reload
    control.reload = False
    watch.on_status(run_status(model_sha256=model))
    return lambda results: feed(watch, clock, results)


def test_a_model_that_is_slower_in_the_run_is_rolled_back(started: Started) -> None:
    store, watch, control, _, _ = started
    tried(started)(quiet_seconds(20, ms=16))
    last = store.read_trial()
    assert last
    assert (last.outcome, store.sha256(TRIAL), control.reload) == (Outcome.ROLLED_BACK, "", True)
    assert "16.0 ms per pass, the old one 10.0 ms" in watch.status.problem


def test_a_rolled_back_model_that_still_runs_because_the_reload_failed_is_shown_until_it_is_replaced(
    started: Started,
) -> None:
    _, watch, _, _, model = started
    passed = tried(started)
    passed(quiet_seconds(20, ms=16))
    assert "still runs" not in watch.status.problem, "the reload is under way"
    failed = replace(run_status().failures, reloads=1)
    for running, still_runs in ((model, True), ("another", False)):
        watch.on_status(run_status(model_sha256=running, failures=failed))
        passed([])
        assert ("(it still runs, since a reload failed" in watch.status.problem) == still_runs


def test_a_good_model_is_adopted_after_the_time_and_without_another_reload(started: Started) -> None:
    store, watch, control, _, model = started
    passed = tried(started)
    passed(quiet_seconds(590))
    assert store.sha256(CURRENT) == ""
    passed(quiet_seconds(20))
    assert (store.sha256(CURRENT), store.sha256(TRIAL), control.reload) == (model, "", False)
    assert not watch.status.problem


def full_disk(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_model_that_was_rolled_back_is_not_loaded_again_although_its_link_cannot_be_removed(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, watch, control, _, model = started
    passed = tried(started)
    with monkeypatch.context() as patch:
        for name in ("remove", "write_trial"):
            patch.setattr(ModelStore, name, full_disk)
        passed(quiet_seconds(20, ms=16))
    assert control.reload
    config = load_config(tmp_path / "fireseg.toml")
    assert model_files(config, on_reload=True)[0] == store.link(TRIAL)
    assert model_files(config, on_reload=True, rejected=watch.rejected) == [INSTALLED]
    before = replace(prepare(config, proof=lambda *_: 1)[0], model_sha256="another")
    after, _ = prepare(config, current=before, rejected=watch.rejected, proof=lambda *_: 1)
    assert after.segmenter.path == INSTALLED
    assert f"base {model[:12]} was rolled back: it takes 16.0 ms" in watch.status.problem
    store.remove(TRIAL)
    passed([])
    assert (watch.rejected, watch.status.problem) == ("", "")


def test_a_model_that_cannot_be_adopted_is_not_used_on(
    started: Started, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store, watch, control, _, model = started
    passed = tried(started)
    monkeypatch.setattr(ModelStore, "point", full_disk)
    passed(quiet_seconds(610))
    assert (store.sha256(CURRENT), watch.rejected, control.reload) == ("", model, True)
    assert "was interrupted: " in watch.status.problem and "No space left" in watch.status.problem
    assert "is adopted" not in caplog.text


def test_updates_that_wait_for_another_run_are_shown_until_they_go_on(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_S", "RETRY_S"):
        monkeypatch.setattr(f"edge.update.watch.{name}", 0.01)
    store, watch, control, _, _ = started
    with store.lock("run", owner="run"):
        watch.connect(control, lambda _: None)
        wait_for(lambda: watch.status.problem.startswith("model updates wait: another run uses "))
    wait_for(lambda: not watch.status.problem)
    watch.close()


def test_a_reload_that_fails_interrupts_a_trial_and_the_third_gives_the_model_up(started: Started) -> None:
    store, watch, _, clock, model = started
    outcomes: list[Outcome] = []
    for reloads in (1, 2, 3):
        assert not watch.status.problem, "the cause may be another, such as a mistake in the configuration"
        store.point(TRIAL, model)
        feed(watch, clock, quiet_seconds(20))
        watch.on_status(run_status(failures=replace(run_status().failures, reloads=reloads)))
        feed(watch, clock, [quiet()])
        last = store.read_trial()
        assert last
        outcomes.append(last.outcome)
    assert outcomes == [Outcome.INTERRUPTED, Outcome.INTERRUPTED, Outcome.GIVEN_UP]
    assert "3 times, last because a reload failed" in watch.status.problem


def test_a_link_that_was_changed_by_hand_is_loaded_once(started: Started) -> None:
    store, watch, control, clock, model = started
    store.remove(TRIAL)
    store.point(CURRENT, model)
    feed(watch, clock, [quiet()])
    assert control.reload
    control.reload = False
    feed(watch, clock, [quiet()])
    assert not control.reload


def test_frames_are_kept_for_an_hour_without_those_before_an_alarm_and_written_if_wanted(tmp_path: Path) -> None:
    frames = QuietFrames()
    for minute in range(2 * KEPT):
        frames.add(quiet(), 60.0 * minute)
    assert len(frames._kept) == KEPT
    few = QuietFrames()
    few.add(quiet(), 0.0)
    few.add(quiet(0.1, alarm=True), 30.0)
    few.add(quiet(), 60.0)
    few.add(quiet(), 120.0)
    few.add(quiet(), 180.0)
    few.write_if_wanted(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / FRAMES_WANTED).touch()
    few.write_if_wanted(tmp_path)
    (frame,) = tmp_path.glob("frames/*.jpg")
    assert frame.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / FRAMES_WANTED).exists()
