"""Fire drills: what they note, when they end, what stops them; and that a fire during a drill is still a fire."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from edge.camera.pattern import FLAMES_TO_S, PatternCamera
from edge.control.drill import DELIVERY_S, LATE, PAINT_S, STALE_S, Drill, deepest_point, step_text
from edge.control.saved_state import SavedState
from edge.control.schedule import WEEK
from edge.detection.alarm import AlarmRules
from edge.detection.memory import PlaceMemory
from edge.detection.views import DetectionSettings
from edge.detection.zones import Zone, ZoneMap
from edge.errors import UserError
from edge.flames import PaintedFlame, lay, resized
from edge.images import Frame, Map
from edge.messages import END, START, CameraProblem, FireEvent, FrameResult, Silence
from edge.model.segmenter import Segmenter
from edge.run_status import Delivered, DrillStep, Link
from tests.support.factories import RedIsFire, frame, make_detector, result

FPS = 10
LABEL_LEVEL = 200
"""The room is darker in its upper left corner."""
LEFT = Zone("left", ((0, 0), (0.4, 0), (0.4, 1), (0, 1)))
RIGHT = Zone("right", ((0.4, 0), (1, 0), (1, 1), (0.4, 1)))
REFUSED = Link("webhook", "connection refused", None)
Scene = Callable[[float], Frame]
PATTERN, FLAME = PatternCamera(fps=FPS), PaintedFlame()


def room(t_s: float) -> Frame:
    return PATTERN.frame(FLAMES_TO_S + 1 + t_s % 10)


def infrared_room(t_s: float) -> Frame:
    return np.repeat(room(t_s)[..., :1], 3, axis=2)


def burning_room(t_s: float) -> Frame:
    """A real fire at the lower left, outside the place of a drill in the middle."""
    return lay(room(t_s), resized(FLAME.at(t_s + 7), 60), (0.12, 0.8))


def burning_middle(t_s: float) -> Frame:
    return lay(room(t_s), resized(FLAME.at(t_s + 7), 60), (0.5, 0.5))


class SeesNothing(RedIsFire):
    def __call__(self, rgb: Frame) -> Map:
        return np.zeros((self.height, self.width), np.uint8)


class Rehearsal:
    """A detector and a drill, without a loop; time passes with each frame."""

    def __init__(self, folder: Path, *zones: Zone, weekly: str = "") -> None:
        self.detector = make_detector(zones)
        self.links: list[Link] = []
        self.time_s = 100.0
        self.started = datetime.fromisoformat("2026-11-29T09:59:00+01:00")  # a Sunday
        self.saved = SavedState(folder / "camera.json")
        self.drill = Drill(
            lambda: self.detector.zones.cells, lambda: self.links, self.saved,
            weekly=weekly, clock=lambda: self.time_s, now=self.now,
        )  # fmt: skip
        self.numbers = itertools.count(1)
        self.results: list[FrameResult] = []
        self.events: list[FireEvent] = []
        self.run(0.5)

    def now(self) -> datetime:
        return self.started + timedelta(seconds=self.time_s - 100)

    def run(self, seconds: float, scene: Scene = room) -> None:
        for _ in range(round(seconds * FPS)):
            self.time_s += 1 / FPS
            self.drill.poll()
            seen = frame(next(self.numbers), scene(self.time_s), self.time_s)
            result, events = self.detector.process(self.drill.paint(seen))
            self.drill.observe(result, events)
            self.results.append(result)
            self.events += [event for event in events if isinstance(event, FireEvent)]

    def receive(self, took_ms: float = 12.0) -> None:
        """Let the webhook receive the newest event."""
        self.links = [Link("webhook", "", Delivered(self.events[-1].id, self.events[-1].number, took_ms))]

    @property
    def steps(self) -> list[str]:
        assert self.drill.status
        return [step_text(step) for step in self.drill.status.steps]

    @property
    def kinds(self) -> list[tuple[str, bool]]:
        return [(event.kind, event.drill) for event in self.events if event.kind in (START, END)]


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    return Rehearsal(tmp_path)


def test_a_drill_is_seen_raises_its_alarm_is_delivered_and_passed(rehearsal: Rehearsal) -> None:
    rehearsal.links = [Link("webhook", "", None)]
    assert rehearsal.drill.start({})["zone"] == "frame"
    rehearsal.run(4)
    status = rehearsal.drill.status
    assert status and status.running and status.passed is None
    assert [step.problem for step in status.steps] == ["", "", ""] and rehearsal.steps[2] == "webhook: waiting"
    rehearsal.receive()
    rehearsal.run(0.5)
    status = rehearsal.drill.status
    assert status and (status.running, status.passed, status.last_passed) == (False, True, status.started)
    seen, alarm, webhook = status.steps
    assert seen.after_ms is not None and alarm.after_ms is not None and seen.after_ms < alarm.after_ms < 4000
    assert (webhook.after_ms, rehearsal.steps[2]) == (12.0, "webhook after 12 ms")


def test_everything_of_a_drill_is_marked_and_no_real_alarm_is_raised(rehearsal: Rehearsal) -> None:
    rehearsal.drill.start({})
    rehearsal.run(2)
    assert rehearsal.kinds == [(START, True), (END, True)], "it ends with the last delivery, not seconds later"
    assert not any(result.alarm for result in rehearsal.results)
    marked = [result for result in rehearsal.results if result.drill]
    assert any(result.drill_alarms["frame"] for result in marked)
    assert all(result.rgb[:30, :90].max() > LABEL_LEVEL for result in marked), "DRILL is written into each frame"
    assert all(event.rgb[:30, :90].max() > LABEL_LEVEL for event in rehearsal.events)
    assert rehearsal.results[0].rgb[:30, :90].max() < LABEL_LEVEL > rehearsal.results[-1].rgb[:30, :90].max()


def test_a_receiver_that_does_not_get_it_fails_the_drill_with_its_own_problem(
    rehearsal: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    rehearsal.links = [REFUSED, Link("mqtt", "", Delivered("an-earlier-fire", 1, 3.0))]
    rehearsal.drill.start({})
    rehearsal.run(PAINT_S + DELIVERY_S)
    status = rehearsal.drill.status
    assert status and (status.running, status.passed, status.last_passed) == (False, False, "")
    assert rehearsal.steps[2:] == ["webhook: connection refused", "mqtt: not delivered within 10 s"]
    assert "fire drill failed: webhook: connection refused" in caplog.text


@pytest.mark.parametrize("scene", [infrared_room, lambda _: np.full((240, 320, 3), 250, np.uint8)])
def test_the_flame_is_seen_under_infrared_light_and_before_a_white_wall(rehearsal: Rehearsal, scene: Scene) -> None:
    rehearsal.run(3, scene)
    before = rehearsal.results[-1].infrared
    rehearsal.drill.start({})
    rehearsal.run(3, scene)
    status = rehearsal.drill.status
    assert status and status.passed
    assert {each.infrared for each in rehearsal.results if each.drill} == {before} == {True}


def test_a_flame_that_the_model_misses_is_the_broken_link(rehearsal: Rehearsal) -> None:
    rehearsal.drill.start({})
    blind = cast(Segmenter, SeesNothing())
    settings = DetectionSettings(tiles="1")
    rehearsal.detector.reconfigure(blind, rehearsal.detector.zones, AlarmRules(), settings, max_fps=10)
    rehearsal.run(PAINT_S + 0.2)
    assert rehearsal.steps == ["seen: the model did not detect the flame", "alarm: not reached"]


def test_a_camera_that_fails_during_a_drill_ends_it(rehearsal: Rehearsal) -> None:
    rehearsal.drill.start({})
    rehearsal.time_s += PAINT_S
    rehearsal.drill.poll()
    assert rehearsal.steps[0] == "seen: no frame arrived"


@pytest.mark.parametrize("zones", [(), (LEFT, RIGHT)])
def test_a_fire_elsewhere_during_a_drill_is_still_a_fire(tmp_path: Path, zones: tuple[Zone, ...]) -> None:
    rehearsal = Rehearsal(tmp_path, *zones)
    rehearsal.links = [REFUSED]  # the drill goes on for as long as it can
    rehearsal.drill.start({"zone": "right"} if zones else {})
    rehearsal.run(2)
    rehearsal.run(3, burning_room)
    assert rehearsal.kinds == [(START, True), (START, False), (END, True)]
    start = rehearsal.events[[event.drill for event in rehearsal.events].index(False)]
    assert start.zone == ("left" if zones else "frame")
    assert start.rgb[:30, :90].max() < LABEL_LEVEL, "its picture must not be taken for that of a drill"
    assert rehearsal.results[-1].alarms[start.zone] and not rehearsal.results[-1].drill
    status = rehearsal.drill.status
    assert status and (status.passed, status.problem) == (None, "a real alarm was raised")


def test_a_fire_at_the_painted_place_is_real_once_the_drill_has_ended(rehearsal: Rehearsal) -> None:
    rehearsal.drill.start({})
    rehearsal.run(1, burning_middle)
    rehearsal.run(3, burning_middle)
    assert rehearsal.kinds == [(START, True), (END, True), (START, False)]
    assert rehearsal.results[-1].alarm


def test_a_drill_at_a_quiet_place_is_marked_and_passed_and_the_place_is_quiet_after_it(rehearsal: Rehearsal) -> None:
    rehearsal.detector.memory = PlaceMemory(now=rehearsal.detector.events.now)
    rehearsal.run(3, burning_middle)
    rehearsal.detector.memory.remember(rehearsal.events[0].id)
    rehearsal.run(3, burning_middle)
    assert rehearsal.results[-1].tracks[0].quiet
    rehearsal.drill.start({})
    rehearsal.run(6, burning_middle)
    assert rehearsal.kinds == [(START, False), (END, False), (START, True), (END, True)]
    assert rehearsal.drill.status and rehearsal.drill.status.passed
    assert rehearsal.results[-1].tracks[0].quiet


def test_no_drill_begins_while_one_runs_a_fire_burns_or_the_camera_is_blind(rehearsal: Rehearsal) -> None:
    calm = result(1.0, 0.0, on=False)
    for seen, reason in (
        (result(1.0, 0.1, on=True), "an alarm is raised"),
        (replace(calm, camera_problem=CameraProblem.COVERED), "the camera cannot see: covered"),
        (replace(calm, paused=True), "detection is paused under infrared light"),
    ):
        rehearsal.drill.observe(seen, [])
        with pytest.raises(UserError, match=f"no fire drill now: {reason}"):
            rehearsal.drill.start({})
    rehearsal.drill.observe(calm, [])
    with pytest.raises(UserError, match="there is no zone 'attic': expected one of frame"):
        rehearsal.drill.start({"zone": "attic"})
    with pytest.raises(UserError, match="there is no argument 'zones'"):
        rehearsal.drill.start({"zones": "frame"})
    rehearsal.drill.start({})
    with pytest.raises(UserError, match="one is in progress"):
        rehearsal.drill.start({})
    rehearsal.run(2)
    rehearsal.time_s += STALE_S
    with pytest.raises(UserError, match="no frame arrives"):
        rehearsal.drill.start({})


def test_the_last_drill_survives_a_restart_and_a_damaged_file_does_not_matter(tmp_path: Path) -> None:
    first = Rehearsal(tmp_path)
    first.drill.start({})
    first.run(2)
    first.saved.close()
    assert first.drill.status and first.drill.status.passed
    assert Rehearsal(tmp_path).drill.status == first.drill.status
    first.saved["drill"] = {"steps": [{"name": "seen", "after": 3}]}
    assert Drill(dict, list, first.saved).status is None
    whole = asdict(first.drill.status)
    for damage in ({"passed": "yes"}, {"zone": 5}, {"last_passed": "0001-01-01T00:00:00"}):
        first.saved["drill"] = whole | damage
        assert Drill(dict, list, first.saved).status is None


def test_a_weekly_drill_begins_once_and_is_reported_if_it_cannot(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, weekly="Sun 10:00")
    rehearsal.run(59)
    assert rehearsal.drill.status is None
    rehearsal.run(4)
    status = rehearsal.drill.status
    assert status and status.passed and status.started.startswith("2026-11-29T10:00:00")
    rehearsal.time_s += WEEK.total_seconds()
    rehearsal.drill.observe(result(1.0, 0.1, on=True), [])
    rehearsal.drill.poll()
    status = rehearsal.drill.status
    assert status and "an alarm is raised" in status.problem
    assert (status.passed, status.last_passed[:10]) == (None, "2026-11-29")


def test_a_weekly_drill_is_not_held_hours_late(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, weekly="Sun 10:00")
    rehearsal.time_s += 60 + LATE.total_seconds()
    rehearsal.run(0.5)
    assert rehearsal.drill.status is None


def test_the_flame_is_painted_well_inside_its_zone_even_if_that_is_bent() -> None:
    assert deepest_point(ZoneMap((), (), 112, 112).cells["frame"]) == pytest.approx((0.5, 0.5), abs=0.01)
    corner = Zone("corner", ((0, 0), (1, 0), (1, 0.3), (0.3, 0.3), (0.3, 1), (0, 1)))
    cells = ZoneMap((corner,), (), 112, 112).cells["corner"]
    x, y = deepest_point(cells)
    assert cells[int(112 * y), int(112 * x)] and min(x, y) < 0.25


def test_a_drill_is_notified_while_the_camera_is_disarmed_and_cannot_be_acknowledged(rehearsal: Rehearsal) -> None:
    rehearsal.links = [REFUSED]
    rehearsal.detector.silence = lambda: Silence.DISARMED
    rehearsal.drill.start({})
    rehearsal.run(2)
    assert {event.silence for event in rehearsal.events} == {None}
    with pytest.raises(UserError, match="there is no fire to acknowledge"):
        rehearsal.detector.events.acknowledge()


def test_a_link_is_one_line_of_text() -> None:
    assert step_text(DrillStep("alarm", 1640.0)) == "alarm after 1.6 s"
    assert step_text(DrillStep("mqtt", problem="no broker")) == "mqtt: no broker"
