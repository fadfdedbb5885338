"""Events: a start, peaks and an end for each fire."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.detection.events import PEAK_HOLD_S, EventTracker, fire_id
from edge.messages import END, PEAK, START, FireEvent
from tests.support.factories import MODEL_HASH, NOON, result


def track(shares: list[float]) -> list[FireEvent]:
    """The events of a fire with these shares, a second apart; 0 for no alarm."""
    tracker = EventTracker(MODEL_HASH, "rtsp://***@cam", now=lambda: NOON, new_id=lambda now, zone: f"{zone}-1")
    return [
        event
        for number, share in enumerate(shares)
        for event in tracker.update(result(float(number), share, on=share > 0, level=number))
        if isinstance(event, FireEvent)
    ]


def kinds(events: list[FireEvent]) -> list[tuple[str, float]]:
    return [(event.kind, event.t_s) for event in events]


def test_a_peak_is_published_after_it_has_stood_for_some_seconds() -> None:
    assert kinds(track([0, 0.1, 0.3, 0.2, 0.2, 0.2, 0.2])) == [(START, 1.0), (PEAK, 2.0)]


def test_a_fire_that_ends_earlier_publishes_its_peak_before_its_end() -> None:
    assert kinds(track([0.1, 0.2, 0])) == [(START, 0.0), (PEAK, 1.0), (END, 2.0)]


def test_a_later_peak_is_published_only_after_considerable_growth() -> None:
    calm = [0.1] * 4
    assert [kind for kind, _ in kinds(track([0.2, *calm, 0.22, *calm, 0]))] == [START, PEAK, END]
    assert [kind for kind, _ in kinds(track([0.2, *calm, 0.4, *calm, 0]))] == [START, PEAK, PEAK, END]


def test_a_peak_carries_the_frame_with_the_largest_fire_area() -> None:
    (_, peak, end) = track([0.1, 0.3, 0.2, 0])
    assert (peak.rgb[0, 0, 0], peak.share, peak.peak_share) == (1, 0.3, 0.3)
    assert (end.rgb[0, 0, 0], end.share, end.peak_share) == (3, 0.0, 0.3)


def test_an_event_is_one_line_of_json_without_images() -> None:
    line = json.loads(json.dumps(track([0.1, 0.3, 0])[-1].as_json()))
    assert line == {
        "type": "event",
        "id": "frame-1",
        "number": 3,
        "kind": "end",
        "zone": "frame",
        "time": "2026-11-22T12:00:00.000+00:00",
        "t_s": 2.0,
        "duration_s": 2.0,
        "share": 0.0,
        "peak_share": 0.3,
        "age_ms": 12.3,
        "model_sha256": MODEL_HASH,
        "source": "rtsp://***@cam",
        "paused": False,
        "silence": None,
        "drill": False,
        "picture_current": True,
        "camera_problem": None,
    }


@given(shares=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.1, 0.11, 0.5, 1.0]), max_size=40))
def test_every_fire_is_a_start_then_growing_peaks_then_an_end(shares: list[float]) -> None:
    events = track(shares)
    letters = "".join({START: "s", PEAK: "p", END: "e"}[event.kind] for event in events)
    assert re.fullmatch(r"(sp+e)*(sp*)?", letters)
    for before, after in pairwise(events):
        if before.kind == after.kind == PEAK:
            assert after.share >= 1.5 * before.share
            assert after.t_s - before.t_s >= PEAK_HOLD_S or after.share > before.share


@given(zone=st.text("aZ09 ._-/\\:é火\n\x00", max_size=60))
def test_a_fire_id_is_a_valid_file_name_and_sorts_by_time(zone: str) -> None:
    early = fire_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), zone)
    assert re.fullmatch(r"20260102T030405Z-[a-z0-9-]{1,30}-[0-9a-f]{4}", early)
    assert early < fire_id(NOON, zone)
