"""Arming: nobody silences the alarm for longer than the time chosen, whatever the clocks do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config_tables import ArmingSection
from edge.control.actions import Actions
from edge.control.arming import Arming
from edge.control.saved_state import SavedState
from edge.messages import Silence

BERLIN = ZoneInfo("Europe/Berlin")
THURSDAY = datetime(2026, 11, 26, 12, tzinfo=BERLIN)
DINNER = ("Mon-Fri 17:00-19:00",)
Values = Mapping[str, Any]


class Memory(dict[str, Any]):
    """A saved state that is written at once; the next run reads it back from JSON."""

    def __setitem__(self, key: str, value: Any) -> None:
        if value is None:
            self.pop(key, None)
        else:
            super().__setitem__(key, json.loads(json.dumps(value)))


class World:
    """Both clocks of a machine, what it saves, and its `run`."""

    def __init__(self, section: ArmingSection | None = None, now: datetime = THURSDAY) -> None:
        self.section, self.saved = section or ArmingSection(), Memory()
        self.mono_s, self.now = 1000.0, now
        self.start()

    def start(self) -> None:
        self.run = Arming(
            self.section,
            cast(SavedState, self.saved),
            clock=lambda: self.mono_s,
            now=lambda: self.now.astimezone(UTC),
            zone=BERLIN,
        )

    def restart(self, *, off_s: float, in_order: bool = True, clock_stands: bool = False) -> None:
        """End the run, in order or by a kill, and start it again; `clock_stands` while the machine is off."""
        if in_order:
            self.run.close()
        self.mono_s = 5.0
        self.now += timedelta(seconds=0 if clock_stands else off_s)
        self.start()

    def wait(self, hours: float) -> Silence | None:
        """Let time pass, in steps of a minute, and return the silence after it."""
        for _ in range(round(60 * hours)):
            self.mono_s += 60
            self.now += timedelta(minutes=1)
            self.run.status()
        return self.run.silence()


def test_a_snooze_ends_by_itself_and_0_minutes_end_it_at_once() -> None:
    world = World()
    answer = world.run.snooze({})
    assert (answer["armed"], answer["snoozed_until"]) == (True, "2026-11-26T12:00:00+00:00")
    assert (world.wait(0.95), world.wait(0.05)) == (Silence.SNOOZED, None)
    world.run.snooze({"minutes": 1440})
    assert world.wait(20) is Silence.SNOOZED
    assert world.run.snooze({"minutes": 0})["snoozed_until"] is None
    assert world.run.silence() is None


def test_disarmed_wins_over_snoozed_and_arming_ends_both(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge")
    world = World()
    world.run.snooze({"minutes": 90})
    world.run.disarm({"hours": 1})
    assert world.run.silence() is Silence.DISARMED
    assert world.wait(1) is Silence.SNOOZED
    world.run.disarm({})
    assert (world.wait(11.9), world.wait(0.1)) == (Silence.DISARMED, None)
    world.run.disarm({})
    world.run.snooze({})
    assert world.run.arm({})["armed"]
    assert world.run.silence() is None
    lines = [record.message for record in caplog.records]
    assert lines[:3] == ["snoozed until Thu 13:30", "disarmed until Thu 13:00", "snoozed until Thu 13:30"]
    assert lines[-2:] == ["disarmed until Fri 13:00", "armed"]


@pytest.mark.parametrize(
    ("action", "values", "expected"),
    [
        ("disarm", {"hours": 169}, "hours is 169: expected a number from 0.01 to 168"),
        ("disarm", {"hours": 0}, "hours is 0: expected a number from 0.01 to 168"),
        ("disarm", {"minutes": 5}, "there is no argument 'minutes': expected hours"),
        ("snooze", {"minutes": "60"}, "minutes is '60': expected a number from 0 to 1440"),
        ("snooze", {"minutes": -1}, "minutes is -1: expected a number from 0 to 1440"),
        ("snooze", {"minutes": True}, "minutes is True: expected a number from 0 to 1440"),
        ("snooze", {"minutes": float("nan")}, "minutes is nan: expected a number from 0 to 1440"),
        ("arm", {"hours": 1}, "there is no argument 'hours': expected none"),
        ("acknowledge", {"zone": 7}, "zone is 7: expected a text"),
    ],
)
def test_a_wrong_value_is_refused_and_silences_nothing(action: str, values: Values, expected: str) -> None:
    world, actions = World(), Actions()
    world.run.register(actions, lambda zone: [zone or "frame"])
    answer = actions.submit(action, values, origin="test")
    actions.poll()
    assert str(answer.exception()) == expected
    assert world.run.silence() is None


def test_a_silence_goes_on_after_a_restart_and_vanishes_if_it_is_over() -> None:
    world = World()
    world.run.disarm({"hours": 2})
    world.restart(off_s=1800)
    assert world.run.status().disarmed_until == "2026-11-26T13:00:00+00:00"
    world.wait(1)
    world.restart(off_s=3600)
    assert world.run.silence() is None
    assert world.saved == {}


@pytest.mark.parametrize("damage", [7, [], {"until": 5}, {"until": "x", "left_s": 60}, {"until": "2027-01-01"}])
@pytest.mark.parametrize("left_s", [1e9, float("nan"), "a", None])
def test_a_damaged_saved_silence_leaves_the_alarm_armed(damage: object, left_s: object) -> None:
    world = World()
    until = {"until": "2099-01-01T00:00:00+00:00", "left_s": left_s}
    world.saved.update(disarmed=until, snoozed=damage, armed_until=damage)
    world.start()
    assert world.run.silence() is None


@given(data=st.data())
def test_no_clock_and_no_restart_make_a_silence_longer_than_the_time_chosen(data: st.DataObject) -> None:
    """The time in which a run is silent, in all runs together."""
    world = World()
    chosen_s = data.draw(st.sampled_from([60.0, 600.0, 3600.0, 86400.0]))
    if data.draw(st.booleans()):
        world.run.snooze({"minutes": chosen_s / 60})
    else:
        world.run.disarm({"hours": chosen_s / 3600})
    silent_s = 0.0
    for _ in range(data.draw(st.integers(1, 30))):
        step_s = data.draw(st.floats(0, chosen_s / 2))
        was_silent = world.run.silence() is not None
        world.mono_s += step_s
        world.now += timedelta(seconds=data.draw(st.sampled_from([0.0, step_s, -step_s, 7200.0])))
        silent_s += step_s if was_silent and world.run.silence() else 0.0
        if data.draw(st.booleans()):
            off_s, stands = data.draw(st.floats(0, 3600)), data.draw(st.booleans())
            world.restart(in_order=data.draw(st.booleans()), off_s=off_s, clock_stands=stands)
    assert silent_s <= chosen_s + 1e-6


@pytest.mark.parametrize("wall_step_s", [0, 20, -20])
def test_a_run_that_is_killed_again_and_again_is_silent_no_longer(wall_step_s: int) -> None:
    world, silent_s = World(), 0
    world.run.snooze({})
    while world.run.silence() and silent_s < 7200:
        world.mono_s += 20
        world.now += timedelta(seconds=wall_step_s)
        silent_s += 20
        world.run.status()
        world.restart(off_s=0, in_order=False)
    assert silent_s <= 3600


def test_the_schedule_disarms_in_its_windows_in_local_time() -> None:
    world = World(ArmingSection(disarmed=DINNER))
    assert world.run.status().next_change == "2026-11-26T16:00:00+00:00"
    assert (world.wait(4.9), world.wait(0.1), world.wait(1.9)) == (None, Silence.DISARMED, Silence.DISARMED)
    status = world.run.status()
    assert (status.disarmed_until, status.disarmed_left_s) == ("2026-11-26T18:00:00+00:00", 360.0)
    assert world.wait(0.1) is None


def test_arming_in_a_window_lasts_until_the_window_ends_also_after_a_restart() -> None:
    world = World(ArmingSection(disarmed=DINNER), now=THURSDAY + timedelta(hours=6))
    assert world.run.silence() is Silence.DISARMED
    world.run.arm({})
    assert world.run.silence() is None
    world.restart(off_s=60)
    world.run.configure(ArmingSection(disarmed=DINNER))
    assert world.wait(0.9) is None
    assert world.wait(23) is Silence.DISARMED


def test_a_clock_that_is_set_back_again_and_again_does_not_stretch_a_window() -> None:
    world = World(ArmingSection(disarmed=DINNER), now=THURSDAY + timedelta(hours=5))
    silences = []
    for _ in range(5):
        silences.append(world.wait(0.5))
        world.now -= timedelta(minutes=20)
    assert silences == [Silence.DISARMED] * 3 + [None] * 2
