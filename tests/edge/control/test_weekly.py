"""One moment of each week."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.control.weekly import DAYS, WEEK, last_moment, parse_weekly
from edge.errors import UserError


@given(now=st.datetimes(min_value=datetime(2000, 1, 10)), day=st.sampled_from(DAYS), minute=st.integers(0, 1439))
def test_the_last_weekly_moment_is_within_the_week_before_now(now: datetime, day: str, minute: int) -> None:
    moment = last_moment(parse_weekly(f"{day} {minute // 60:02d}:{minute % 60:02d}"), now)
    assert now - WEEK < moment <= now
    assert (moment.weekday(), moment.hour * 60 + moment.minute) == (DAYS.index(day), minute)


@pytest.mark.parametrize("text", ["", "Sunday 10:00", "Sun 24:00", "Sun", "10:00", "Sun 10:0"])
def test_a_weekly_moment_is_a_day_and_a_time(text: str) -> None:
    with pytest.raises(UserError, match="expected a day and a time"):
        parse_weekly(text)
