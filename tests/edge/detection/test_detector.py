"""From frames to results and events: the test pattern on its schedule, lamps never, real recordings as they burned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.capture import TimedFrame
from edge.camera.pattern import FLAMES_FROM_S, FLAMES_TO_S, PERIOD_S
from edge.config import Config, load_config
from edge.detection.alarm import AlarmRules
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.zones import Zone, ZoneMap
from edge.messages import END, PEAK, START, FireEvent
from edge.model.segmenter import Segmenter
from tests.support.factories import MODEL_HASH, frame, lamp, pattern_frames, red_is_fire, watch

LEFT = Zone("left", ((0, 0), (0.3, 0), (0.3, 1), (0, 1)))
RIGHT = Zone("right", ((0.3, 0), (1, 0), (1, 1), (0.3, 1)))
COMES_ON_S = 1.5  # results needed, and a fifth of a second to compare with


def events_of(watched: Detector, frames: list[TimedFrame]) -> list[FireEvent]:
    return [event for seen in frames for event in watched.look(seen)[1]]


def times(events: list[FireEvent], kind: str) -> list[float]:
    return [event.t_s for event in events if event.kind == kind]


def test_the_test_pattern_alarms_on_its_schedule() -> None:
    rules = AlarmRules()
    events = events_of(watch(), pattern_frames(PERIOD_S + FLAMES_FROM_S + 2))
    starts, ends = times(events, START), times(events, END)
    assert starts == pytest.approx([FLAMES_FROM_S, PERIOD_S + FLAMES_FROM_S], abs=COMES_ON_S)
    assert min(starts[0] - FLAMES_FROM_S, starts[1] - PERIOD_S - FLAMES_FROM_S) >= 0
    assert ends == pytest.approx([FLAMES_TO_S + rules.off_after_s], abs=0.11)


def test_a_red_lamp_never_alarms_unless_liveliness_is_switched_off() -> None:
    frames = [frame(n, lamp(n / 10), n / 10) for n in range(60)]
    assert events_of(watch(), frames) == []
    assert len(events_of(watch(rules=AlarmRules(require_flicker=False)), frames)) > 0


def test_a_lamp_that_is_switched_on_does_not_alarm_either() -> None:
    dark = lamp(0) // 8
    frames = [frame(n, lamp(n / 10) if n % 40 > 20 else dark, n / 10) for n in range(120)]
    assert events_of(watch(), frames) == []


def test_only_the_zone_that_burns_alarms() -> None:
    events = events_of(watch((LEFT, RIGHT)), pattern_frames(12))
    assert {event.zone for event in events} == {"right"}
    results = [watch((LEFT, RIGHT)).look(seen)[0] for seen in pattern_frames(6)[-1:]]
    assert results[0].shares["left"] == 0 < results[0].shares["right"]


def test_a_result_tells_its_age_and_is_a_line_of_json() -> None:
    result, _ = watch(clock_s=7.0).look(frame(3, lamp(0), 1.25, captured_s=6.9))
    line = json.loads(json.dumps(result.as_json()))
    assert line == {
        "type": "result",
        "t_s": 1.25,
        "frame": 3,
        "age_ms": 100.0,
        "inference_ms": 0.0,
        "fire_share": pytest.approx(result.fire_share, abs=1e-5),
        "alarm": False,
        "zones": {"frame": {"share": pytest.approx(result.fire_share, abs=1e-5), "alarm": False}},
    }


def test_a_picture_that_the_camera_made_at_the_model_s_size_is_taken_as_it_is() -> None:
    small = lamp(0)[:112, :112].copy()
    small[:] = (255, 0, 0)
    result, _ = watch().look(TimedFrame(1, lamp(0), small, 0.0, 0.0))
    assert result.fire_share == 1


def test_a_fire_goes_on_over_a_change_of_model_and_ends_with_a_zone_that_is_taken_away() -> None:
    frames = pattern_frames(14)
    watched = watch((LEFT, RIGHT))
    first = events_of(watched, frames[:80])
    grid = RIGHT, LEFT
    watched.renew(red_is_fire(), ZoneMap(grid, [], 112, 112), AlarmRules())
    assert START not in {event.kind for event in events_of(watched, frames[80:100])}
    watched.renew(red_is_fire(), ZoneMap([LEFT], [], 112, 112), AlarmRules())
    last = events_of(watched, frames[100:101])
    assert [event.kind for event in last][-1] == END
    assert {event.id for event in [*first, *last]} == {"fire-right"}


def replayed(path: Path, model: Path) -> list[FireEvent]:
    """What a recording comes to, with the defaults and every frame."""
    config: Config = load_config(None)
    segmenter = Segmenter(model, threads=1)
    events = EventTracker(MODEL_HASH, path.name)
    watched = Detector(segmenter, ZoneMap([], [], segmenter.height, segmenter.width), config.alarm, events)
    source = build_camera(str(path), CameraSettings())
    source.open()
    found: list[FireEvent] = []
    number = 0
    while (shot := source.read()) is not None:
        number += 1
        assert shot.t_s is not None
        found += watched.look(frame(number, shot.rgb, shot.t_s))[1]
    return found


@pytest.fixture(params=["base", "small"])
def either_model(request: pytest.FixtureRequest) -> Path:
    return Path(__file__).parents[3] / f"models/fireseg-{request.param}-int8.tflite"


@pytest.mark.slow
def test_a_burning_house_alarms_within_three_seconds_and_stays(videos_dir: Path, either_model: Path) -> None:
    events = replayed(videos_dir / "visifire_housefire_14.avi", either_model)
    assert [event.kind for event in events].count(START) == 1
    assert events[0].t_s <= 3
    assert END not in {event.kind for event in events}
    assert PEAK in {event.kind for event in events}


@pytest.mark.slow
def test_a_recording_without_fire_never_alarms(videos_dir: Path, either_model: Path) -> None:
    assert replayed(videos_dir / "nofire_firesense_sequences.avi", either_model) == []


@pytest.mark.slow
def test_a_brazier_alarms_and_its_events_are_a_whole_story_whatever_the_model_sees_of_it(
    videos_dir: Path, either_model: Path
) -> None:
    kinds = [event.kind for event in replayed(videos_dir / "visifire_brazier_2.avi", either_model)]
    assert kinds[:1] == [START]
    assert kinds.count(START) - kinds.count(END) in (0, 1)
