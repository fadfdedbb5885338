"""An update that fails is published once, until another reason replaces it or it is over; also across restarts."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.messages import PROBLEM, RECOVERED, Event, UpdateEvent
from edge.update.failures import FailureEvents
from edge.update.store import MAX_ATTEMPTS, ModelStore, Outcome
from edge.update.update import NotTriedError, Report
from tests.support.factories import MODEL_HASH, NOON, run_status
from tests.support.model_repository import INSTALLED, Machine, Site, always_fire
from tests.support.run_cli import fireseg_edge
from tests.support.waiting import wait_for

SLOW = "base 01e12d1af291 was rolled back: it takes 16.0 ms per pass, the old one 10.0 ms"


def published(events: FailureEvents, *problems: str) -> list[Event]:
    """Return what is published while the problem is each of these in turn, for three seconds."""
    found: list[Event] = []
    for problem in problems:
        for _ in range(3):
            events.update(problem, run_status())
            events.publish(found.append)
    return found


def outline(events: list[Event]) -> list[tuple[int, str, str]]:
    return [(each.number, each.kind, each.problem) for each in events if isinstance(each, UpdateEvent)]


def test_a_failure_is_published_when_it_begins_changes_and_ends_and_not_at_each_check_or_start(tmp_path: Path) -> None:
    events, other = FailureEvents(ModelStore(tmp_path), now=lambda: NOON), SLOW.replace("01e1", "02e1")
    found = published(events, "", SLOW, SLOW.replace("16.0", "17.3"), other)
    assert outline(found) == [(1, PROBLEM, SLOW), (2, PROBLEM, other)]
    found += published(FailureEvents(ModelStore(tmp_path)), other, "", "")
    assert outline(found)[2:] == [(3, RECOVERED, other)]
    assert len({each.id for each in found}) == 1
    assert found[0].as_json() | {"id": ""} == {
        "type": "update", "id": "", "number": 1, "kind": "problem", "problem": SLOW,
        "time": "2026-11-22T12:00:00.000+00:00", "model_sha256": MODEL_HASH, "source": "test",
    }  # fmt: skip
    again = published(FailureEvents(ModelStore(tmp_path)), "", SLOW)
    assert again[0].id != found[0].id, "another failure"


def test_an_event_that_the_loop_has_not_published_is_made_again_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        FailureEvents(ModelStore(tmp_path)).update(SLOW, run_status())
    assert len(published(FailureEvents(ModelStore(tmp_path)), SLOW)) == 1


def test_an_event_that_was_published_just_before_the_end_is_not_made_again(tmp_path: Path) -> None:
    events = FailureEvents(ModelStore(tmp_path))
    events.update(SLOW, run_status())
    events.publish(lambda _: None)
    events.save()
    assert not published(FailureEvents(ModelStore(tmp_path)), SLOW)


@pytest.mark.parametrize("content", ["", "[1]", '{"id": 1, "number": "x", "problem": null}'])
def test_a_damaged_or_unwritable_file_costs_no_event_and_repeats_none(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "failure.json").write_text(content)
    assert len(published(FailureEvents(ModelStore(tmp_path)), SLOW, SLOW)) == 1
    no_folder = ModelStore(tmp_path / "failure.json" / "models")
    assert len(published(FailureEvents(no_folder), SLOW, SLOW, "", "")) == 2
    assert [record.message.split(" (")[0] for record in caplog.records] == ["update: a failure could not be saved"]


@pytest.mark.slow
def test_a_run_publishes_what_it_finds_in_the_folder_once(tmp_path: Path) -> None:
    (tmp_path / "root.json").touch()
    (tmp_path / "models/base").mkdir(parents=True)
    (tmp_path / "models/base/check.json").write_text(json.dumps({"problem": SLOW}))
    (tmp_path / "fireseg.toml").write_text(
        f'[source]\naddress = "test-pattern"\nfps = 10\n[model]\npath = "{INSTALLED}"\n'
        '[update]\nurl = "http://h"\nroot = "root.json"\nmodel = "base"\nfolder = "models"\n'
    )
    for expected in ([SLOW], []):
        run = "run", "--config", tmp_path / "fireseg.toml", "--max-frames", 60, "--log", "json"
        done = fireseg_edge(*run, cwd=tmp_path)
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert [line["problem"] for line in lines if line["type"] == "update"] == expected, done


@pytest.mark.slow
def test_a_model_that_is_rolled_back_is_reported_once_until_a_later_one_is_adopted(
    site: Site, machine: Machine, newer: Path, tmp_path: Path
) -> None:
    bad = site.repository().add(always_fire(INSTALLED, tmp_path), "base")
    with machine.run() as watch:
        assert machine.update().result == "rolled back"
        (event,) = wait_for(lambda: machine.events)
        reason = f"base {bad[:12]} was rolled back: it detects fire in 100.0% of the frames without an alarm"
        assert outline([event])[0][2].startswith(reason)
        assert watch.status.problem.startswith(reason)
    with machine.run() as watch:
        with suppress(NotTriedError):  # if it was rolled back in the run, not after the comparison
            assert machine.update().result == "rolled back"
        wait_for(lambda: watch.status.problem.startswith(reason))
        assert watch.status.checked, "the repository was asked with success"
        site.repository().add(newer, "base")
        assert machine.update().result == "adopted"
        wait_for(lambda: len(machine.events) > 1)
        assert not watch.status.problem
    assert [(number, kind) for number, kind, _ in outline(machine.events)] == [(1, PROBLEM), (2, RECOVERED)]


@pytest.mark.slow
def test_rolling_back_by_hand_ends_a_failure_and_is_none_itself(
    site: Site, machine: Machine, newer: Path, tmp_path: Path
) -> None:
    site.repository().add(newer, "base")
    with machine.run() as watch:
        assert machine.update().result == "adopted"
        site.folder.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="answered 404"):
            machine.update()
        wait_for(lambda: machine.events)
        assert fireseg_edge("update", "--rollback", "--config", machine.path, cwd=tmp_path).code == 0
        wait_for(lambda: len(machine.events) == 2)
        shutil.move(tmp_path / "elsewhere", site.folder)
        with pytest.raises(UserError, match=r"was rolled back by hand: publish another model, or pass --retry"):
            machine.update()
        wait_for(lambda: machine.store.read_json("check")["problem"] == "" and not watch.status.problem)
    assert [(number, kind) for number, kind, _ in outline(machine.events)] == [(1, PROBLEM), (2, RECOVERED)]


@pytest.mark.slow
def test_an_interrupted_trial_is_retried_and_the_third_time_given_up_and_reported(
    site: Site, tmp_path: Path, newer: Path
) -> None:
    machine = Machine(tmp_path / "machine", site, INSTALLED, watch_s=86400)
    new = site.repository().add(newer, "base")
    reports: list[Report] = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert machine.events == []
        with machine.run() as watch:
            updater = threading.Thread(target=lambda: reports.append(machine.update()))
            updater.start()
            wait_for(lambda watch=watch: machine.loaded[-1] == new and watch.status.trial, 300)  # type: ignore[misc]
        updater.join()
        assert len(reports) == attempt
    assert [report.result for report in reports] == ["interrupted", "interrupted", "given up"]
    assert reports[0].problem == "the run was stopped; attempt 1 of 3: the next update tries it again"
    machine.path.write_text(machine.path.read_text().replace("86400", "5"))
    with machine.run() as watch:
        (event,) = wait_for(lambda: machine.events)
        given_up = f"base {new[:12]} was given up: its trial was interrupted 3 times, last because the run was stopped"
        assert outline([event]) == [(1, PROBLEM, given_up)]
        with pytest.raises(UserError, match=r"was given up .*publish another model, or pass --retry"):
            machine.update()
        assert machine.update(retry=True).result == Outcome.ADOPTED
        wait_for(lambda: len(machine.events) == 2 and not watch.status.problem)
