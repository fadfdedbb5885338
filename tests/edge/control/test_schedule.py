"""Windows and moments of the week: what is read, refused, and when they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import load_config
from edge.control.schedule import DAYS, WEEK, WEEK_MIN, Schedule, last_moment, parse_weekly
from edge.errors import UserError

BERLIN = ZoneInfo("Europe/Berlin")


def test_a_schedule_is_read_and_repeats_each_week() -> None:
    schedule = Schedule.parse(["Sat-Mon 08:00-9:30", "fri 22:00-02:00", "Sun 23:00 - 24:00"], UTC)
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    disarmed = [minute for minute in range(WEEK_MIN) if schedule.is_disarmed(monday + timedelta(minutes=minute))]
    assert len(disarmed) == 3 * 90 + 240 + 60
    assert schedule.is_disarmed(monday + timedelta(days=5, hours=1.9, weeks=7))
    assert schedule.next_change(monday + timedelta(days=6, hours=23)) == monday + timedelta(days=7)
    assert Schedule.parse([]).next_change(monday) is None


def test_a_window_has_its_local_times_when_the_clocks_change() -> None:
    schedule = Schedule.parse(["Sun 01:00-06:00"], BERLIN)
    for sunday, hours in ((datetime(2026, 3, 29, 1, tzinfo=BERLIN), 4), (datetime(2026, 10, 25, 1, tzinfo=BERLIN), 6)):
        end = schedule.next_change(sunday)
        assert end is not None
        assert end - sunday.astimezone(UTC) == timedelta(hours=hours)


EXPECTED = r"expected days and times, such as \"Mon-Fri 17:00-19:00\""


@pytest.mark.parametrize(
    ("disarmed", "expected"),
    [
        ('["Mon 17-19"]', f"{EXPECTED}.*, not 'Mon 17-19'"),
        ('["Mon-Fry 17:00-19:00"]', EXPECTED),
        ('["Mon 17:00-17:00"]', EXPECTED),
        ('["Mon 25:00-26:00"]', EXPECTED),
        ('["Mon 1:00-2:60"]', EXPECTED),
        ('["17:00-19:00"]', EXPECTED),
        ('["Mon-Sun 00:00-24:00"]', "it never arms: expected windows that leave some time out"),
        ('["Mon-Sun 07:00-19:00", "Mon-Sun 19:00-07:00"]', "it never arms"),
        ('"Mon 17:00-19:00"', "expected a list of at most 100 texts"),
        ("[17]", "expected texts in quotes, such as .*, not 17"),
    ],
)
def test_a_wrong_schedule_is_one_sentence(disarmed: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text(f"[arming]\ndisarmed = {disarmed}\n")
    with pytest.raises(UserError, match=rf"\[arming\] disarmed = .*: {expected}") as raised:
        load_config(path)
    assert len(raised.value.lines) == 1


@given(now=st.datetimes(min_value=datetime(2000, 1, 10)), day=st.sampled_from(DAYS), minute=st.integers(0, 1439))
def test_the_last_weekly_moment_is_within_the_week_before_now(now: datetime, day: str, minute: int) -> None:
    moment = last_moment(parse_weekly(f"{day} {minute // 60:02d}:{minute % 60:02d}"), now)
    assert now - WEEK < moment <= now
    assert (moment.weekday(), moment.hour * 60 + moment.minute) == (DAYS.index(day), minute)


@pytest.mark.parametrize("text", ["", "Sunday 10:00", "Sun 24:00", "Sun", "10:00", "Sun 10:0"])
def test_a_weekly_moment_is_a_day_and_a_time(text: str) -> None:
    with pytest.raises(UserError, match="expected a day and a time"):
        parse_weekly(text)
