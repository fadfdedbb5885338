"""A new model that fails, is slower or marks quiet frames is refused, by the comparison or by the run itself."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import FLATBUFFER_SHA256, attach, split_model
from edge.model.shipped import SHIPPED
from edge.update.store import TRIAL, model_files
from tests.support.model_repository import INSTALLED, Machine, Site, always_fire, failing_self_test
from tests.support.run_cli import fireseg_edge
from tests.support.tiny_models import without_weights
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def test_a_model_that_fails_its_self_test_is_never_tried(site: Site, machine: Machine, tmp_path: Path) -> None:
    site.repository().add(failing_self_test(INSTALLED, tmp_path), "base")
    with machine.run():
        with pytest.raises(UserError, match="computes wrong maps"):
            machine.update()
        assert machine.loaded == [sha256(INSTALLED)]


def test_a_model_that_fails_at_inference_is_never_tried(site: Site, machine: Machine, tmp_path: Path) -> None:
    flatbuffer, card = split_model(INSTALLED)
    path = tmp_path / "broken.tflite"
    data = without_weights(flatbuffer)
    plain = {key: value for key, value in (card or {}).items() if key != FLATBUFFER_SHA256}
    path.write_bytes(attach(data, plain))
    site.repository().add(path, "base")
    with machine.run():
        with pytest.raises(UserError, match=r"could not be (run|loaded)|crashes the interpreter"):
            machine.update()
        assert machine.loaded == [sha256(INSTALLED)]


def test_a_model_that_crashes_the_comparison_is_never_tried(
    site: Site, machine: Machine, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.repository().add(newer, "base")
    monkeypatch.setattr("edge.update.comparison.CHILD", "import os; os.kill(os.getpid(), 11)")
    with machine.run():
        with pytest.raises(UserError, match=r"crashes the interpreter \(SIGSEGV\)"):
            machine.update()
        assert machine.loaded == [sha256(INSTALLED)]


def test_a_model_that_is_slower_than_the_limit_is_never_tried(site: Site, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", site, INSTALLED, max_slower=1.2)
    site.repository().add(SHIPPED["base"], "base")
    with machine.run():
        report = machine.update()
        assert report.result == "rolled back"
        assert "ms per pass" in report.problem
        assert machine.loaded == [sha256(INSTALLED)]
        done = fireseg_edge("update", "--config", machine.path, cwd=tmp_path)
        assert (done.code, "more than 1.2 times as long" in done.out) == (1, True)


def test_a_model_that_marks_the_frames_without_an_alarm_is_never_tried(
    site: Site, machine: Machine, tmp_path: Path
) -> None:
    site.repository().add(always_fire(INSTALLED, tmp_path), "base")
    with machine.run() as watch:
        wait_for(lambda: len(watch._frames._kept) >= 6)
        report = machine.update()
        assert report.result == "rolled back"
        assert "of the frames without an alarm, the old one in 0.0%" in report.problem
        assert machine.loaded == [sha256(INSTALLED)]
        assert not (machine.store.folder / "frames").exists(), "images stay on disk only while they are compared"
        wait_for(lambda: watch.status.problem)


def test_a_model_that_marks_quiet_frames_in_the_run_is_rolled_back_by_itself(
    site: Site, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    published = site.repository().add(always_fire(INSTALLED, tmp_path), "base")
    monkeypatch.setattr("edge.update.comparison.MIN_FRAMES", 1000)  # the comparison sees nothing
    with caplog.at_level(logging.ERROR, "edge"), machine.run() as watch:
        report = machine.update()
        assert report.result == "rolled back"
        wait_for(lambda: machine.loaded == [sha256(INSTALLED), published, sha256(INSTALLED)])
        wait_for(lambda: "frames without an alarm" in watch.status.problem)
    assert model_files(machine.config) == [INSTALLED]
    assert not machine.store.sha256(TRIAL)
    assert "MODEL UPDATE ROLLED BACK" in caplog.text
