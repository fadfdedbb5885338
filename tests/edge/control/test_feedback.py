"""Verdicts on fires: what is kept for training, what a verdict writes and refuses, and what retention spares."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config_tables import ClipsSection
from edge.control import feedback
from edge.control.actions import Actions, Answer
from edge.control.feedback import Verdict, list_fires, register_verdict
from edge.errors import UserError
from edge.event_files import event_of
from edge.images import read_gray_or_colour, read_rgb
from edge.messages import END, PEAK, START
from edge.sinks.clips import Clips
from edge.sinks.evidence import MAX_SIDE_PX, SPREAD_FRAMES, Evidence, for_training
from edge.sinks.retention import Retention
from tests.support.factories import event, result
from tests.support.waiting import wait_for

ID = "20261122T120000Z-frame-abcd"
OLDER, OLDEST = "20261121T120000Z-stove-0001", "20261120T120000Z-stove-0002"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WAIT_S = 20.0

Ask = Callable[..., Answer]


@pytest.fixture
def actions() -> Actions:
    return Actions()


@pytest.fixture
def ask(actions: Actions, tmp_path: Path) -> Ask:
    """Gives a verdict as page and MQTT do, in the folder of the test."""
    register_verdict(actions, tmp_path, now=lambda: NOON)

    def give(**arguments: Any) -> Answer:
        return actions.submit("verdict", arguments, origin="test").result(WAIT_S)

    return give


def record_fire(folder: Path, *, until_s: float = 3.0) -> None:
    """Write the files of a fire as a run does: ten results a second, a peak and an end."""
    sink = Clips(ClipsSection(folder=str(folder), after_s=1.0), grace_s=WAIT_S)
    for number in range(round(until_s * 10) + 1):
        sink.on_result(result(1 + number / 10, 0.1, on=True, number=number))
        if number == 0:
            sink.on_event(event(START))
    sink.on_event(event(PEAK, number=2, t_s=until_s))
    sink.on_event(event(END, number=3, t_s=until_s))
    sink.close()


def frames_kept(duration_s: float, fps: float) -> list[float]:
    """Return when frames are kept in a fire, the start apart."""
    times_s: list[float] = []
    now_s = 0.0
    evidence = Evidence(lambda *_: times_s.append(now_s))
    evidence.on_event(event(START, t_s=0.0))
    for number in range(1, round(duration_s * fps)):
        now_s = number / fps
        evidence.on_result(result(now_s, 0.1, on=True))
    return times_s[1:]


def test_a_fire_leaves_private_frames_and_masks_for_training(tmp_path: Path) -> None:
    record_fire(tmp_path)
    stems = sorted(path.name.removesuffix("-mask.png") for path in tmp_path.glob("*-mask.png"))
    assert stems == [f"{ID}-frame-{name}" for name in ("00", "01", "02", "03", "peak")]
    for stem in stems:
        assert read_rgb(tmp_path / f"{stem}.jpg").shape == (48, 64, 3)
        assert read_gray_or_colour(tmp_path / f"{stem}-mask.png").shape == (12, 16)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@given(duration_s=st.floats(0.5, 300), fps=st.floats(0.2, 30))
def test_however_long_a_fire_lasts_a_bounded_number_of_frames_is_spread_over_it(duration_s: float, fps: float) -> None:
    times_s = frames_kept(duration_s, fps)
    assert len(times_s) < SPREAD_FRAMES
    gaps_s = np.diff([0.0, *times_s])
    assert all(later >= earlier - 1 / fps for earlier, later in pairwise(gaps_s))


def test_frames_of_a_large_camera_are_scaled_to_what_training_crops_from() -> None:
    assert for_training(np.zeros((720, 1280, 3), np.uint8)).shape == (378, MAX_SIDE_PX, 3)
    assert for_training(small := np.zeros((48, 64, 3), np.uint8)) is small


def test_without_room_for_feedback_and_of_a_drill_no_frames_are_kept(tmp_path: Path) -> None:
    sink = Clips(ClipsSection(folder=str(tmp_path), feedback_mb=0), grace_s=WAIT_S)
    sink.on_event(event(START))
    sink.close()
    assert not list(tmp_path.glob("*-frame-00.jpg"))
    kept: list[str] = []
    Evidence(lambda name, *_: kept.append(name)).on_event(replace(event(START), drill=True))
    assert kept == []


def test_a_verdict_is_written_listed_changed_and_taken_back(ask: Ask, tmp_path: Path) -> None:
    record_fire(tmp_path)
    path = tmp_path / f"{ID}-verdict.json"
    assert [(fire.id, fire.verdict, fire.frames) for fire in list_fires(tmp_path)] == [(ID, None, 5)]
    for verdict in Verdict:
        assert ask(id=ID, verdict=verdict.value).items() >= {"id": ID, "verdict": verdict}.items()
        assert json.loads(path.read_text()) == {"id": ID, "verdict": verdict, "time": "2026-11-22T12:00:00+00:00"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (fire,) = list_fires(tmp_path)
        assert (fire.verdict, fire.time) == (verdict, "2026-11-22T12:00:00+00:00")
    ask(id=ID, verdict="")
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"verdict": "fire"}, "id is None: expected a text"),
        ({"id": "../../etc/passwd", "verdict": "fire"}, "expected that of a fire, such as 20261122T224100Z-stove-3f9a"),
        ({"id": f"{ID}/../x", "verdict": "fire"}, "expected that of a fire"),
        ({"id": f"{ID}\n", "verdict": "fire"}, "expected that of a fire"),
        ({"id": "20261122T120000Z-*-abcd", "verdict": "fire"}, "expected that of a fire"),
        ({"id": ID, "verdict": "smoke"}, 'verdict is \'smoke\': expected "fire", "not a fire", or "" to take it back'),
        ({"id": ID}, "verdict is None"),
        ({"id": ID, "verdict": ["fire"]}, r"verdict is \['fire'\]"),
        ({"id": OLDER, "verdict": "fire"}, "has no files in .*: they were deleted, or are not written yet"),
    ],
)
def test_a_wrong_id_verdict_or_deleted_fire_is_refused_in_one_sentence(
    ask: Ask, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    record_fire(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as refused:
        ask(**arguments)
    assert re.search(message, str(refused.value))
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_problem_of_the_camera_takes_no_verdict(ask: Ask, tmp_path: Path) -> None:
    problem = "20261122T120000Z-camera-abcd"
    for name in (f"{problem}-problem.jpg", f"{problem}.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="has no files"):
        ask(id=problem, verdict="fire")
    assert list_fires(tmp_path) == []


def test_a_verdict_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / f"{ID}-start.jpg").touch()
    for text in ("", "[]", '{"verdict": "maybe", "time": ""}', "[" * 4000):
        (tmp_path / f"{ID}-verdict.json").write_text(text)
        (fire,) = list_fires(tmp_path)
        assert (fire.verdict, fire.time) == (None, "")


def test_a_run_that_remembers_places_is_asked_to_and_to_forget_when_the_verdict_changes(
    actions: Actions, ask: Ask, tmp_path: Path
) -> None:
    record_fire(tmp_path)
    asked: list[tuple[str, Any]] = []
    for name in ("remember", "forget"):
        actions.register(name, lambda arguments, name=name: asked.append((name, arguments["id"])) or {})  # type: ignore[misc, func-returns-value]

    def poll() -> list[tuple[str, Any]]:
        actions.poll()
        return asked

    asking = actions.submit("verdict", {"id": ID, "verdict": "not a fire"}, origin="test")
    assert wait_for(lambda: poll() == [("remember", ID)], WAIT_S)
    assert asking.result(WAIT_S) == {"id": ID, "verdict": "not a fire", "problem": ""}
    ask(id=ID, verdict="fire")
    assert wait_for(lambda: poll() == [("remember", ID), ("forget", ID)], WAIT_S)
    ask(id=ID, verdict="")
    assert poll() == [("remember", ID), ("forget", ID)]


@pytest.mark.parametrize(
    ("is_polled", "problem"),
    [
        (True, "its place is not quiet: the place of fire 'x' is not known: expected one of the last fires"),
        (False, "its place is not quiet yet: the run does not respond"),
    ],
)
def test_a_verdict_is_kept_but_its_answer_has_the_reason_if_the_place_is_not_quiet(
    actions: Actions, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_polled: bool, problem: str
) -> None:
    def refuse(_: Any) -> Answer:
        raise UserError("the place of fire 'x' is not known", "expected one of the last fires")

    record_fire(tmp_path)
    actions.register("remember", refuse)
    if not is_polled:
        monkeypatch.setattr(feedback, "QUIET_WAIT_S", 0.1)
    asking = actions.submit("verdict", {"id": ID, "verdict": "not a fire"}, origin="test")
    while is_polled and not asking.done():
        actions.poll()
    assert asking.result(WAIT_S)["problem"] == problem
    assert [fire.verdict for fire in list_fires(tmp_path)] == [Verdict.NOT_A_FIRE]


def write_files(folder: Path, *, verdicts: tuple[str, ...]) -> None:
    """Write two files of 1000 bytes for each of three fires, all a year old."""
    for id_ in (OLDEST, OLDER, ID):
        for name in (f"{id_}.mp4", f"{id_}-frame-00.jpg"):
            (folder / name).write_bytes(bytes(1000))
        if id_ in verdicts:
            (folder / f"{id_}-verdict.json").write_bytes(b"")
    for path in folder.iterdir():
        os.utime(path, (0, 0))


def remaining(folder: Path, *, feedback_bytes: float) -> set[str | None]:
    Retention(folder, 1.0, 1e9, feedback_bytes, now=lambda: 1e6, clock=lambda: 0.0).apply()
    return {event_of(path.name, {OLDEST, OLDER, ID}) for path in folder.iterdir()}


def test_fires_with_a_verdict_stay_when_the_folder_is_full(tmp_path: Path) -> None:
    write_files(tmp_path, verdicts=(OLDEST, ID))
    assert remaining(tmp_path, feedback_bytes=4000) == {OLDEST, ID}


def test_above_their_own_limit_the_oldest_fires_with_a_verdict_go_and_it_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_files(tmp_path, verdicts=(OLDEST, OLDER, ID))
    assert remaining(tmp_path, feedback_bytes=5999) == {OLDER, ID}
    assert "1 fire with a verdict, the oldest, may be deleted: [clips] feedback_mb is 0.005999" in caplog.text
    assert remaining(tmp_path, feedback_bytes=0) == set()


@pytest.mark.parametrize("ids", [{ID, OLDER}, set[str]()])
def test_a_file_belongs_to_the_fire_whose_id_it_begins_with(ids: set[str]) -> None:
    expected = ID if ids else None
    for suffix in (".mp4", "-start.jpg", "-start-overlay.jpg", "-frame-peak-mask.png", "-verdict.json"):
        assert event_of(f"{ID}{suffix}", ids) == expected
    assert event_of("notes.txt", ids) is None
