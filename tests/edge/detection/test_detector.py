"""From frames to results and events: the test pattern, lamps, zones, and real recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.capture import TimedFrame
from edge.camera.pattern import FLAMES_FROM_S, FLAMES_TO_S, PERIOD_S
from edge.detection.alarm import AlarmRules
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.zones import Zone, ZoneMap
from edge.messages import END, PEAK, START, FireEvent
from edge.model.segmenter import Segmenter
from tests.support.factories import MODEL_HASH, frame, lamp, pattern_frames, red_is_fire
from tests.support.factories import make_detector as watch

LEFT = Zone("left", ((0, 0), (0.3, 0), (0.3, 1), (0, 1)))
RIGHT = Zone("right", ((0.3, 0), (1, 0), (1, 1), (0.3, 1)))
FPS = 5
ALARM_WITHIN_S = 1.5  # the results that an alarm needs, and 0.2 s to compare with


def process(detector: Detector, frames: list[TimedFrame]) -> list[FireEvent]:
    events = [event for seen in frames for event in detector.process(seen)[1]]
    return [event for event in events if isinstance(event, FireEvent)]


def times(events: list[FireEvent], kind: str) -> list[float]:
    return [event.t_s for event in events if event.kind == kind]


@pytest.fixture(scope="module")
def pattern() -> list[TimedFrame]:
    """The test pattern into its second period."""
    return pattern_frames(PERIOD_S + FLAMES_FROM_S + 2, FPS)


@pytest.fixture(scope="module")
def lamp_on() -> list[TimedFrame]:
    return [frame(number, lamp(number / FPS), number / FPS) for number in range(6 * FPS)]


def test_the_test_pattern_raises_alarms_on_its_schedule(pattern: list[TimedFrame]) -> None:
    events = process(watch(), pattern)
    starts, ends = times(events, START), times(events, END)
    assert starts == pytest.approx([FLAMES_FROM_S, PERIOD_S + FLAMES_FROM_S], abs=ALARM_WITHIN_S)
    assert min(starts[0] - FLAMES_FROM_S, starts[1] - PERIOD_S - FLAMES_FROM_S) >= 0
    assert ends == pytest.approx([FLAMES_TO_S + AlarmRules().off_after_s], abs=1 / FPS)


def test_a_red_lamp_raises_an_alarm_only_without_the_flicker_rule(lamp_on: list[TimedFrame]) -> None:
    assert process(watch(), lamp_on) == []
    assert len(process(watch(rules=AlarmRules(require_flicker=False)), lamp_on)) > 0


def test_switching_a_lamp_on_raises_no_alarm(lamp_on: list[TimedFrame]) -> None:
    off = lamp_on[0].rgb // 8
    frames = [frame(n, lamp_on[n % 30].rgb if n % 20 > 10 else off, n / FPS) for n in range(60)]
    assert process(watch(), frames) == []


def test_only_the_zone_with_fire_raises_an_alarm(pattern: list[TimedFrame]) -> None:
    flames = pattern[4 * FPS : 8 * FPS]
    assert {event.zone for event in process(watch((LEFT, RIGHT)), flames)} == {"right"}
    result, _ = watch((LEFT, RIGHT)).process(flames[-1])
    assert result.shares["left"] < AlarmRules().on_share < result.shares["right"]


def test_a_result_is_one_line_of_json_with_its_age() -> None:
    result, _ = watch(clock_s=7.0).process(frame(3, lamp(0), 1.25, captured_s=6.9))
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


@pytest.mark.parametrize(("size", "is_used"), [(112, True), (224, False)])
def test_a_frame_that_the_camera_scaled_is_used_if_it_has_the_models_size(size: int, is_used: bool) -> None:
    red = np.full((size, size, 3), (255, 0, 0), np.uint8)
    result, _ = watch().process(TimedFrame(1, lamp(0), red, 0.0, 0.0))
    assert (result.fire_share == 1) == is_used


def test_a_fire_survives_a_new_model_and_ends_with_its_zone(pattern: list[TimedFrame]) -> None:
    detector = watch((LEFT, RIGHT))
    first = process(detector, pattern[4 * FPS : 8 * FPS])
    detector.reconfigure(red_is_fire(), ZoneMap((RIGHT, LEFT), [], 112, 112), AlarmRules())
    assert START not in {event.kind for event in process(detector, pattern[8 * FPS : 10 * FPS])}
    detector.reconfigure(red_is_fire(), ZoneMap([LEFT], [], 112, 112), AlarmRules())
    last = process(detector, pattern[10 * FPS : 10 * FPS + 1])
    assert [event.kind for event in last][-1] == END
    assert {event.id for event in [*first, *last]} == {"fire-right"}


def replay(path: Path, model: Path) -> list[FireEvent]:
    """The events of a recording with default rules, at most ten results a second as in a run."""
    segmenter = Segmenter(model, threads=1)
    zones = ZoneMap([], [], segmenter.height, segmenter.width)
    detector = Detector(segmenter, zones, AlarmRules(), EventTracker(MODEL_HASH, path.name))
    camera = build_camera(str(path), CameraSettings())
    camera.open()
    events: list[FireEvent] = []
    next_s = 0.0
    while (seen := camera.read()) is not None:
        assert seen.t_s is not None
        if seen.t_s >= next_s:
            next_s = seen.t_s + 0.099
            events += detector.process(frame(1, seen.rgb, seen.t_s))[1]
    return events


@pytest.fixture(params=["base", "small"])
def shipped(request: pytest.FixtureRequest) -> Path:
    return Path(__file__).parents[3] / f"models/fireseg-{request.param}-int8.tflite"


@pytest.mark.slow
def test_a_flames_house_raises_one_lasting_alarm_within_three_seconds(videos_dir: Path, shipped: Path) -> None:
    events = replay(videos_dir / "visifire_housefire_14.avi", shipped)
    kinds = [event.kind for event in events]
    assert kinds.count(START) == 1
    assert events[0].t_s <= 3
    assert PEAK in kinds
    assert END not in kinds


@pytest.mark.slow
def test_a_recording_without_fire_raises_no_alarm(videos_dir: Path, shipped: Path) -> None:
    assert replay(videos_dir / "nofire_firesense_sequences.avi", shipped) == []


@pytest.mark.slow
def test_a_brazier_raises_alarms_whose_events_are_complete(videos_dir: Path, shipped: Path) -> None:
    kinds = [event.kind for event in replay(videos_dir / "visifire_brazier_2.avi", shipped)]
    assert kinds[:1] == [START]
    assert kinds.count(START) - kinds.count(END) in (0, 1)
