"""Camera events: one per problem and one for its end, with one id, logged once each."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from edge.detection.camera_events import CameraEventTracker
from edge.detection.events import EventTracker
from edge.messages import END, PROBLEM, RECOVERED, CameraEvent, CameraProblem, FireEvent, FrameResult
from tests.support.factories import MODEL_HASH, NOON, frame, make_detector, pattern_frames, result


def seen(t_s: float, problem: CameraProblem | None, *, on: bool = False) -> FrameResult:
    return replace(result(t_s, 0.1 if on else 0.0, on=on), camera_problem=problem)


def test_a_problem_and_its_end_are_two_events_of_one_id_and_two_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    tracker = CameraEventTracker(lambda: NOON, lambda _, name: name)
    caplog.set_level(logging.INFO)
    events = []
    for t_s, problem in enumerate([None, *[CameraProblem.COVERED] * 3, None, None]):
        events += tracker.update(seen(t_s, problem), model_sha256=MODEL_HASH, source="yard")
    assert [(event.kind, event.id, event.number, event.t_s) for event in events] == [
        (PROBLEM, "camera covered", 1, 1),
        (RECOVERED, "camera covered", 2, 4),
    ]
    assert events[1].as_json()["duration_s"] == 3
    assert caplog.messages == ["yard: the camera cannot see (covered)", "yard: the camera can see again"]


def test_another_problem_ends_the_one_before() -> None:
    tracker = CameraEventTracker(lambda: NOON, lambda _, name: name)
    events = []
    for t_s, problem in enumerate([CameraProblem.FOGGED, CameraProblem.COVERED]):
        events += tracker.update(seen(t_s, problem), model_sha256=MODEL_HASH, source="yard")
    assert [(event.kind, event.problem) for event in events] == [
        (PROBLEM, CameraProblem.FOGGED),
        (RECOVERED, CameraProblem.FOGGED),
        (PROBLEM, CameraProblem.COVERED),
    ]


def test_a_fire_is_never_explained_away_and_its_events_say_that_the_picture_is_not_current(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = EventTracker(MODEL_HASH, "yard", now=lambda: NOON)
    tracker.update(seen(0, None, on=True))
    (reported,) = tracker.update(seen(1, CameraProblem.FROZEN, on=True))
    assert isinstance(reported, CameraEvent)
    assert reported.alarm
    assert "a fire alarm is raised, without a current picture" in caplog.text
    *_, end = tracker.update(seen(2, CameraProblem.FROZEN, on=False))
    assert isinstance(end, FireEvent)
    assert end.kind == END
    assert (end.as_json()["picture_current"], end.as_json()["camera_problem"]) == (False, "frozen")


def test_an_alarm_over_a_frozen_picture_stays_raised_and_the_results_say_so() -> None:
    detector, fire = make_detector(), pattern_frames(8.0, fps=5)
    for each in fire:
        detector.process(each)
    results = []
    for number in range(24):
        results.append(detector.process(frame(100 + number, fire[-1].rgb, 8.0 + number / 2))[0])
    assert all(each.alarm for each in results)
    assert results[0].as_json()["picture_current"]
    assert results[-1].as_json() | {"alarm": True, "picture_current": False, "camera_problem": "frozen"} == (
        results[-1].as_json()
    )
