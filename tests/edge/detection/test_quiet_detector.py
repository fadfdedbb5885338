"""The detector and quiet places: a false alarm is silenced, and what differs from it raises the alarm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.assembly import build_detector
from edge.camera.capture import TimedFrame
from edge.config import load_config
from edge.detection.detector import Detector
from edge.detection.memory import PlaceMemory
from edge.detection.zones import ZoneMap
from edge.evaluation.replay import Thinning, read_frames
from edge.images import Frame
from edge.messages import END, START, Event, FireEvent, FrameResult
from edge.model.segmenter import Segmenter
from tests.support.factories import frame, glowing, make_detector


def process(detector: Detector, frames: Sequence[Frame], began_s: float) -> tuple[list[FrameResult], list[Event]]:
    results = [detector.process(frame(n + 1, rgb, began_s + n / 10)) for n, rgb in enumerate(frames)]
    return [each for each, _ in results], [each for _, events in results for each in events]


def test_a_false_alarm_is_quiet_at_its_place_until_it_doubles_or_another_fire_begins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector, saved = make_detector(), dict[str, Any]()
    detector.memory = PlaceMemory(saved, now=detector.events.now)
    small = [glowing(number, 40) for number in range(40)]
    results, events = process(detector, small, 0.0)
    assert results[-1].alarm
    (start,) = [each for each in events if isinstance(each, FireEvent) and each.kind == START]
    detector.memory.remember(start.id)
    caplog.set_level("INFO")
    results, events = process(detector, small * 2, 4.0)
    assert not any(each.alarm for each in results)
    assert all(each.tracks[0].quiet and each.tracks[0].confirmed for each in results)
    assert [each.kind for each in events if isinstance(each, FireEvent)][-1] == END
    assert caplog.text.count("no alarm at a quiet place") == 1
    assert detector.quiet.quiet_s == pytest.approx(7.9)
    both = [np.maximum(rgb, glowing(number, 48, left=220)) for number, rgb in enumerate(small)]
    results, _ = process(detector, both, 12.0)
    assert results[-1].alarm, "a fire elsewhere"
    results, _ = process(detector, small * 2, 16.0)
    assert not results[-1].alarm
    results, _ = process(detector, [glowing(number, 72) for number in range(10)], 24.0)
    assert [each.alarm for each in results].index(True) <= 3, "three times its size"
    detector = make_detector()
    detector.memory = PlaceMemory(saved, now=detector.events.now)
    results, _ = process(detector, small, 0.0)
    assert not any(each.alarm for each in results), "after a restart"
    assert results[-1].tracks[0].quiet


def test_a_false_alarm_on_the_border_of_its_quiet_place_raises_one_alarm_not_many() -> None:
    detector = make_detector()
    detector.memory = PlaceMemory(now=detector.events.now)
    _, events = process(detector, [glowing(number, 40) for number in range(40)], 0.0)
    detector.memory.remember(events[0].id)
    sizes = [72 if number % 20 < 6 else 40 for number in range(200)]  # for 0.6 s every 2 s
    results, events = process(detector, [glowing(number, size) for number, size in enumerate(sizes)], 4.0)
    assert [each.kind for each in events if each.kind in (START, END)] == [END, START]
    assert results[-1].alarm
    detector.memory.remember(events[0].id)
    results, _ = process(detector, [glowing(number, 40) for number in range(10)], 24.0)
    assert not any(each.alarm for each in results), "at once"
    process(detector, [glowing(number, 112) for number in range(10)], 25.0)
    results, _ = process(detector, [glowing(number, 40) for number in range(70)], 26.0)
    assert 4 < [each.alarm for each in results].index(False) / 10 < 6


@pytest.mark.slow
def test_a_real_fire_that_was_made_quiet_raises_its_alarm_again_when_it_spreads(videos_dir: Path) -> None:
    segmenter = Segmenter("small", threads=1)
    zones = ZoneMap([], [], segmenter.height, segmenter.width)
    detector = build_detector(load_config(None), segmenter, zones, "", "fire", lambda: 0.0, passes_per_frame=1)
    thinning, remembered_s, starts_s = Thinning(10), 0.0, []
    for t_s, rgb in read_frames(videos_dir / "visifire_housefire_14.avi"):
        if not thinning.selects(t_s):
            continue
        events = detector.process(TimedFrame(1, rgb, None, t_s, 0.0))[1]
        for start in (each for each in events if isinstance(each, FireEvent) and each.kind == START):
            starts_s.append(t_s)
            fire_id = start.id
        if starts_s and not remembered_s and t_s >= starts_s[0] + 4:
            detector.memory.remember(fire_id)
            remembered_s = t_s
    assert len(starts_s) == 2
    assert starts_s[1] - remembered_s < 4
