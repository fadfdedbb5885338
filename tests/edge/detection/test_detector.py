"""From frames to results and events: the test pattern, lamps, zones, and real recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.capture import TimedFrame
from edge.camera.pattern import FLAMES_FROM_S, FLAMES_TO_S, PERIOD_S, WIDTH
from edge.detection.alarm import AlarmRules
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.views import DetectionSettings
from edge.detection.zones import Zone, ZoneMap
from edge.images import Frame, Map
from edge.messages import END, PEAK, START, Event, FireEvent
from edge.model.segmenter import Segmenter
from tests.support.factories import (
    MODEL_HASH,
    RedIsFire,
    frame,
    glowing,
    lamp,
    make_detector,
    pattern_frames,
    red_is_fire,
)

LEFT = Zone("left", ((0, 0), (0.3, 0), (0.3, 1), (0, 1)))
RIGHT = Zone("right", ((0.3, 0), (1, 0), (1, 1), (0.3, 1)))
# The flames of the test pattern rise right of the middle: on the border of these two.
BURNING = [Zone("this", ((0, 0), (0.6, 0), (0.6, 1), (0, 1))), Zone("that", ((0.6, 0), (1, 0), (1, 1), (0.6, 1)))]
FPS = 5
RULES = AlarmRules(on_results=4, of_results=8, on_s=1.0, min_score=0.75, off_after_s=2.0)
ALARM_WITHIN_S = 2.0  # the results that an alarm needs, one that is missed, and 0.2 s to compare with
WHOLE_ONLY = DetectionSettings(tiles="1")


def watch(zones: Sequence[Zone] = (), rules: AlarmRules = RULES, **options: Any) -> Detector:
    return make_detector(tuple(zones), rules, **options)


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
    assert min(starts[0] - FLAMES_FROM_S, starts[1] - PERIOD_S - FLAMES_FROM_S) >= RULES.on_s
    assert ends == pytest.approx([FLAMES_TO_S + RULES.off_after_s], abs=1 / FPS)


def test_the_default_rules_detect_the_test_pattern_too(pattern: list[TimedFrame]) -> None:
    events = process(watch(rules=AlarmRules()), pattern[: round(FLAMES_TO_S) * FPS])
    assert [event.kind for event in events if event.kind != PEAK] == [START]


def test_a_red_lamp_raises_an_alarm_only_without_the_flicker_rule(lamp_on: list[TimedFrame]) -> None:
    assert process(watch(), lamp_on) == []
    assert len(process(watch(rules=replace(RULES, require_flicker=False)), lamp_on)) > 0


def test_switching_a_lamp_on_raises_no_alarm(lamp_on: list[TimedFrame]) -> None:
    off = lamp_on[0].rgb // 8
    frames = [frame(n, lamp_on[n % 30].rgb if n % 20 > 10 else off, n / FPS) for n in range(60)]
    assert process(watch(), frames) == []


def test_a_red_bag_that_is_carried_past_raises_no_alarm_and_hides_no_fire(pattern: list[TimedFrame]) -> None:
    def with_bag(seen: TimedFrame, number: int) -> TimedFrame:
        rgb = seen.rgb.copy()
        left = (12 * number) % (WIDTH - 60)
        rgb[4:64, left : left + 60] = (250, 30, 20)  # larger than the flames at first
        return frame(seen.number, rgb, seen.t_s)

    calm, burning = pattern[: 4 * FPS], pattern[5 * FPS : 9 * FPS]
    for frames, alarms in ((calm, 0), (burning, 1)):
        events = process(watch(), [with_bag(seen, number) for number, seen in enumerate(frames)])
        assert len(times(events, START)) == alarms


def test_only_the_zone_with_fire_raises_an_alarm(pattern: list[TimedFrame]) -> None:
    flames = pattern[4 * FPS : 8 * FPS]
    assert {event.zone for event in process(watch([LEFT, RIGHT]), flames)} == {"right"}
    result, _ = watch([LEFT, RIGHT]).process(flames[-1])
    assert result.shares["left"] < 0.01 < result.shares["right"]


def test_a_fire_on_the_border_of_two_zones_raises_both_alarms(pattern: list[TimedFrame]) -> None:
    events = process(watch(BURNING), pattern[4 * FPS : 8 * FPS])
    assert {event.zone for event in events if event.kind == START} == {"this", "that"}


def test_fire_in_an_ignored_area_makes_no_track_and_no_alarm(pattern: list[TimedFrame]) -> None:
    grid = ZoneMap([], [RIGHT.polygon], 112, 112)
    events = EventTracker(MODEL_HASH, "test")
    detector = Detector(red_is_fire(), grid, RULES, events, WHOLE_ONLY, passes_per_frame=1)
    for seen in pattern[4 * FPS : 9 * FPS]:
        result, news = detector.process(seen)
        assert all(track.box[0] < 0.3 for track in result.tracks), "a reflection at the left"
        assert (result.alarm, news) == (False, [])


def test_a_result_shows_the_tracks_of_its_frame_and_which_are_confirmed(pattern: list[TimedFrame]) -> None:
    detector = watch()
    results = [detector.process(seen)[0] for seen in pattern[4 * FPS : 16 * FPS]]
    assert results[0].tracks == results[-1].tracks == ()
    burning = [each.tracks[0] for each in results[2 * FPS : 9 * FPS]]
    assert len({track.id for track in burning}) == 1
    assert all(0.3 < track.box[0] < track.box[2] <= 1 for track in burning)
    confirmed = [track.confirmed for track in burning]
    assert confirmed == sorted(confirmed)
    for each in results:
        assert len({track.id for track in each.tracks}) == len(each.tracks)
        assert not any(track.confirmed for track in each.tracks) or each.alarm


def test_a_recording_that_restarts_ends_the_fire_of_its_last_pass(pattern: list[TimedFrame]) -> None:
    detector = watch()
    process(detector, pattern[4 * FPS : 9 * FPS])
    events = process(detector, pattern[: 4 * FPS])
    assert [event.kind for event in events][-1:] == [END]
    assert len(times(process(detector, pattern[4 * FPS : 9 * FPS]), START)) == 1


def test_a_camera_outage_alone_neither_raises_nor_clears_an_alarm(pattern: list[TimedFrame]) -> None:
    detector, flames = watch(), pattern[6 * FPS : 9 * FPS]
    first = process(detector, flames[:3])
    later = [frame(seen.number, seen.rgb, seen.t_s + 600) for seen in flames]
    assert first == process(detector, later[:3]) == []
    assert [event.kind for event in process(detector, later[3:])] == [START]
    much_later = [frame(seen.number, seen.rgb, seen.t_s + 1200) for seen in flames[:3]]
    assert END not in {event.kind for event in process(detector, much_later)}


@pytest.mark.parametrize(("infrared", "raises"), [("watch", True), ("pause", False)])
def test_frames_without_colour_are_watched_or_paused_as_configured(
    pattern: list[TimedFrame], infrared: str, raises: bool
) -> None:
    class BrightIsFire(RedIsFire):
        def __call__(self, rgb: Frame) -> Map:
            return np.where(rgb[..., 0] > 150, 240, 10).astype(np.uint8)

    detector = watch()
    model = cast(Segmenter, BrightIsFire())
    settings = DetectionSettings(tiles="1", infrared=infrared)
    detector.reconfigure(model, ZoneMap([], [], 112, 112), RULES, settings, max_fps=10)
    grey = [frame(seen.number, np.repeat(seen.rgb[..., :1], 3, axis=2), seen.t_s) for seen in pattern[: 9 * FPS]]
    results = [detector.process(seen)[0] for seen in grey]
    assert [results[0].infrared, results[-1].infrared] == [False, True]
    assert any(each.alarm for each in results) == raises
    assert results[-1].fire_share > 0, "the mask is shown all the same"


def test_a_small_coloured_flame_in_a_dark_room_is_detected_although_detection_pauses_under_infrared_light() -> None:
    detector = watch()
    settings = DetectionSettings(tiles="1", infrared="pause")
    detector.reconfigure(red_is_fire(), ZoneMap([], [], 112, 112), RULES, settings, max_fps=10)
    dark = [frame(number, np.full((240, 320, 3), 30, np.uint8), number / FPS) for number in range(3 * FPS)]
    lit = [frame(number, glowing(number, 16), number / FPS) for number in range(3 * FPS, 6 * FPS)]
    results = [detector.process(seen)[0] for seen in [*dark, *lit]]
    assert results[-1].paused, "the flame is too small to give the frame colour"
    assert results[-1].alarm


def test_a_result_is_one_line_of_json_with_its_age() -> None:
    result, _ = watch(clock_s=7.0).process(frame(3, lamp(0), 1.25, captured_s=6.9))
    line = json.loads(json.dumps(result.as_json()))
    assert line == {
        "type": "result",
        "t_s": 1.25,
        "frame": 3,
        "age_ms": 100.0,
        "inference_ms": 0.0,
        "passes": 1,
        "fire_share": pytest.approx(result.fire_share, abs=1e-5),
        "infrared": False,
        "paused": False,
        "drill": False,
        "picture_current": True,
        "camera_problem": None,
        "alarm": False,
        "zones": {"frame": {"share": pytest.approx(result.fire_share, abs=1e-5), "alarm": False, "silence": None}},
        "tracks": [
            {
                "id": 1,
                "box": pytest.approx(result.tracks[0].box, abs=1e-4),
                "share": pytest.approx(result.fire_share, abs=1e-4),
                "confirmed": False,
                "quiet": False,
            }
        ],
    }
    assert all(len(str(number)) <= 6 for number in line["tracks"][0]["box"])


@pytest.mark.parametrize(("size", "is_used"), [(112, True), (224, False)])
def test_a_frame_that_the_camera_scaled_is_used_if_it_has_the_models_size(size: int, is_used: bool) -> None:
    red = np.full((size, size, 3), (255, 0, 0), np.uint8)
    result, _ = watch().process(TimedFrame(1, lamp(0), red, 0.0, 0.0))
    assert (result.fire_share == 1) == is_used


def test_a_fire_survives_a_new_model_and_ends_with_its_zone(pattern: list[TimedFrame]) -> None:
    detector = watch([LEFT, RIGHT])
    first = process(detector, pattern[4 * FPS : 8 * FPS])
    detector.reconfigure(red_is_fire(), ZoneMap((RIGHT, LEFT), [], 112, 112), RULES, WHOLE_ONLY, max_fps=10)
    assert START not in {event.kind for event in process(detector, pattern[8 * FPS : 10 * FPS])}
    detector.reconfigure(red_is_fire(), ZoneMap([LEFT], [], 112, 112), RULES, WHOLE_ONLY, max_fps=10)
    last = process(detector, pattern[10 * FPS : 10 * FPS + 1])
    assert [event.kind for event in last][-1] == END
    assert {event.id for event in [*first, *last]} == {"fire-right"}


def test_a_fire_survives_a_model_of_another_size_but_what_was_not_confirmed_begins_again(
    pattern: list[TimedFrame],
) -> None:
    class Finer(RedIsFire):
        height, width = 160, 96

    finer, grid = cast(Segmenter, Finer()), ZoneMap([RIGHT, LEFT], [], 160, 96)
    for seconds, raised in ((8, True), (6, False)):
        detector = watch([LEFT, RIGHT])
        process(detector, pattern[5 * FPS : seconds * FPS])
        detector.reconfigure(finer, grid, RULES, WHOLE_ONLY, max_fps=10)
        result, events = detector.process(pattern[seconds * FPS])
        assert (result.alarms["right"], result.alarms["left"]) == (raised, False)
        assert START not in {event.kind for event in events}


def replay(path: Path, model: Path) -> list[Event]:
    """The events of a recording with default rules, at most ten results a second as in a run."""
    segmenter = Segmenter(model, threads=1)
    zones = ZoneMap([], [], segmenter.height, segmenter.width)
    events_of = EventTracker(MODEL_HASH, path.name)
    detector = Detector(segmenter, zones, AlarmRules(), events_of, passes_per_frame=3)
    camera = build_camera(str(path), CameraSettings())
    camera.open()
    events: list[Event] = []
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
    first = events[0]
    assert isinstance(first, FireEvent)
    assert first.t_s <= 3
    assert PEAK in kinds
    assert END not in kinds


@pytest.mark.slow
def test_a_recording_without_fire_raises_no_alarm(videos_dir: Path, shipped: Path) -> None:
    events = replay(videos_dir / "nofire_firesense_sequences.avi", shipped)
    assert not any(isinstance(event, FireEvent) for event in events)  # its cuts are a camera that has moved


@pytest.mark.slow
def test_a_brazier_raises_alarms_whose_events_are_complete(videos_dir: Path, shipped: Path) -> None:
    kinds = [event.kind for event in replay(videos_dir / "visifire_brazier_2.avi", shipped)]
    assert kinds[:1] == [START]
    assert kinds.count(START) - kinds.count(END) in (0, 1)
