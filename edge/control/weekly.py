"""One moment of each week, such as "Sun 10:00"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from edge.errors import UserError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK = timedelta(weeks=1)


def parse_weekly(text: str) -> timedelta:
    """Return the time since the week began, on Monday at 00:00. Raises `UserError`."""
    match = re.fullmatch(rf"({'|'.join(DAYS)}) ([01]?\d|2[0-3]):([0-5]\d)", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise UserError(f'weekly = "{text}"', 'expected a day and a time, such as "Sun 10:00"')
    return timedelta(days=DAYS.index(match[1].title()), hours=int(match[2]), minutes=int(match[3]))


def last_moment(since_monday: timedelta, now: datetime) -> datetime:
    """Return the last time, `now` included, at which the moment came.

    Args:
        since_monday: as returned by `parse_weekly`.
        now: local time without a time zone.
    """
    monday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=now.weekday())
    moment = monday + since_monday
    return moment if moment <= now else moment - WEEK
