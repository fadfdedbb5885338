"""Silence of fires: what is acknowledged stays silent until it grows, and a silence that ends is an event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.events import EventTracker
from edge.errors import UserError
from edge.messages import END, PEAK, START, STILL, FireEvent, Silence
from tests.support.factories import MODEL_HASH, NOON, make_detector, pattern_frames, result


class Watch:
    """A tracker, and the results that reach it: one a second."""

    def __init__(self) -> None:
        self.tracker = EventTracker(MODEL_HASH, "test", now=lambda: NOON, new_id=lambda _, zone: zone)
        self.silence: Silence | None = None
        self.t_s = 0.0
        self.silences: list[Silence | None] = []

    def see(self, *shares: float) -> list[tuple[str, Silence | None]]:
        """Return kind and silence of each event; 0 for no alarm."""
        events = []
        for share in shares:
            self.t_s += 1
            alarms = {"frame": share > 0}
            silences = self.tracker.silences(alarms, self.silence)
            self.silences.append(silences.get("frame"))
            frame = replace(result(self.t_s, share, on=share > 0), silences=silences)
            events += [event for event in self.tracker.update(frame) if isinstance(event, FireEvent)]
        return [(event.kind, event.silence) for event in events]


def test_an_acknowledged_fire_is_silent_until_it_ends_and_the_next_one_is_not() -> None:
    watch = Watch()
    assert watch.see(0.1, 0.1) == [(START, None)]
    assert watch.tracker.acknowledge() == ["frame"]
    assert watch.see(0.1, 0.15, 0) == [(PEAK, Silence.ACKNOWLEDGED), (END, Silence.ACKNOWLEDGED)]
    assert watch.see(0.1) == [(START, None)]


def test_an_acknowledged_fire_that_grows_to_more_than_twice_its_area_sounds_again() -> None:
    watch = Watch()
    watch.see(0.1, 0.02)
    watch.tracker.acknowledge()  # flames flicker: its area is the largest of the last seconds
    assert watch.see(0.1, 0.2) == []
    assert (STILL, None) in watch.see(0.21, 0.21)
    watch.tracker.acknowledge()
    watch.see(0.3, 0.42)
    assert watch.silences[-2:] == [Silence.ACKNOWLEDGED] * 2


def test_a_fire_that_outlasts_a_snooze_is_an_event_and_one_that_ends_before_is_not() -> None:
    watch = Watch()
    watch.silence = Silence.SNOOZED
    assert watch.see(0.1, 0.1) == [(START, Silence.SNOOZED)]
    watch.silence = None
    assert watch.see(0.1) == [(STILL, None)]
    watch.silence = Silence.DISARMED
    assert (END, Silence.DISARMED) in watch.see(0.1, 0)
    watch.silence = None
    assert watch.see(0, 0) == []


def test_a_snooze_that_ends_leaves_an_acknowledged_fire_silent() -> None:
    watch = Watch()
    watch.see(0.1)
    watch.tracker.acknowledge()
    watch.silence = Silence.SNOOZED
    watch.see(0.1)
    watch.silence = None
    assert STILL not in dict(watch.see(0.1))
    assert watch.silences == [None, Silence.SNOOZED, Silence.ACKNOWLEDGED]


def test_only_a_raised_fire_can_be_acknowledged() -> None:
    watch = Watch()
    with pytest.raises(UserError, match=r"^there is no fire to acknowledge: it may have ended$"):
        watch.tracker.acknowledge()
    watch.see(0.1)
    with pytest.raises(UserError, match=r"^there is no fire in stove to acknowledge: expected one of frame$"):
        watch.tracker.acknowledge("stove")
    assert watch.tracker.acknowledge("frame") == ["frame"]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.11, 0.3]), st.sampled_from([None, Silence.SNOOZED]), st.booleans()),
        max_size=40,
    )
)
def test_the_unsilenced_events_alone_name_each_fire_that_sounds(
    steps: list[tuple[float, Silence | None, bool]],
) -> None:
    watch, is_known = Watch(), False
    for share, watch.silence, acknowledges in steps:
        for kind, silence in watch.see(share):
            is_known = (is_known or (kind in (START, STILL) and not silence)) and kind != END
        assert is_known or not share or watch.silences[-1]
        if acknowledges and share:
            watch.tracker.acknowledge()


def test_the_detector_says_why_each_zone_is_silent() -> None:
    detector = make_detector()
    detector.silence = lambda: Silence.DISARMED
    results = [detector.process(frame)[0] for frame in pattern_frames(1)]
    assert all(each.silences == {"frame": Silence.DISARMED} and not each.sounds for each in results)
