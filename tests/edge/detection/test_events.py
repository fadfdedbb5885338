"""Starts, peaks and ends: one story for each fire."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.detection.events import SETTLE_S, EventTracker, fire_id
from edge.messages import END, PEAK, START, FireEvent
from tests.support.factories import MODEL_HASH, NOON, result


def story(shares: list[float], *, step_s: float = 1.0) -> list[FireEvent]:
    """The events of a fire of these shares, 0 for none."""
    log = EventTracker(MODEL_HASH, "rtsp://***@cam", now=lambda: NOON, new_id=lambda now, zone: f"{zone}-1")
    return [
        event
        for number, share in enumerate(shares)
        for event in log.news(result(number * step_s, share, on=share > 0, level=number))
    ]


def kinds(events: list[FireEvent]) -> list[tuple[str, float]]:
    return [(event.kind, event.t_s) for event in events]


def test_a_peak_is_told_when_it_has_stood_for_some_seconds() -> None:
    assert kinds(story([0, 0.1, 0.3, 0.2, 0.2, 0.2, 0.2])) == [(START, 1.0), (PEAK, 2.0)]


def test_a_fire_that_ends_before_its_peak_has_settled_tells_it_with_the_end() -> None:
    assert kinds(story([0.1, 0.2, 0])) == [(START, 0.0), (PEAK, 1.0), (END, 2.0)]


def test_a_later_peak_is_told_only_when_the_fire_has_grown_well_beyond_the_last() -> None:
    calm = [0.1] * 4
    assert [kind for kind, _ in kinds(story([0.2, *calm, 0.22, *calm, 0]))] == [START, PEAK, END]
    assert [kind for kind, _ in kinds(story([0.2, *calm, 0.4, *calm, 0]))] == [START, PEAK, PEAK, END]


def test_a_peak_shows_the_frame_that_burned_most() -> None:
    (_, peak, end) = story([0.1, 0.3, 0.2, 0])
    assert (peak.rgb[0, 0, 0], peak.share, peak.peak_share) == (1, 0.3, 0.3)
    assert (end.rgb[0, 0, 0], end.share, end.peak_share) == (3, 0.0, 0.3)


def test_an_event_is_a_line_of_json_without_pictures() -> None:
    line = json.loads(json.dumps(story([0.1, 0.3, 0])[-1].as_json()))
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
    }


@given(shares=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.1, 0.11, 0.5, 1.0]), max_size=40))
def test_every_fire_is_a_start_then_peaks_then_an_end_with_growing_peaks(shares: list[float]) -> None:
    letters = "".join({START: "s", PEAK: "p", END: "e"}[event.kind] for event in story(shares))
    assert re.fullmatch(r"(sp+e)*(sp*)?", letters)
    events = story(shares)
    for before, after in pairwise(events):
        if before.kind == after.kind == PEAK:
            assert after.share >= 1.5 * before.share
            assert after.t_s - before.t_s >= SETTLE_S or after.share > before.share


@given(zone=st.text(max_size=60))
def test_a_fire_s_id_is_a_file_name_anywhere_and_sorts_by_time(zone: str) -> None:
    early = fire_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), zone)
    assert re.fullmatch(r"20260102T030405Z-[a-z0-9-]{1,30}-[0-9a-f]{4}", early)
    assert early < fire_id(NOON, zone)
