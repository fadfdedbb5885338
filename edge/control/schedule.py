"""Windows and moments of the week in local time, such as "Mon-Fri 17:00-19:00" and "Sun 10:00"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from edge.errors import UserError, one_line

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
WEEK_MIN = len(DAYS) * DAY_MIN
WEEK = timedelta(weeks=1)
EXPECTED = 'expected days and times, such as "Mon-Fri 17:00-19:00", "Sat,Sun 11:00-13:30" or "Fri 22:00-02:00"'
_WINDOW = re.compile(r"([a-z, -]+?) +([0-9]{1,2}):([0-9]{2}) *- *([0-9]{1,2}):([0-9]{2})")
_MOMENT = re.compile(rf"({'|'.join(DAYS)}) ([01]?[0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class Schedule:
    """The minutes of the week in which the alarm is disarmed: `[arming] disarmed`.

    Example:
        >>> Schedule.parse(["Fri 22:00-02:00"]).is_disarmed(datetime(2026, 11, 27, 23, tzinfo=UTC))
        True
    """

    week: bytes = bytes(WEEK_MIN)
    """One byte per minute from Monday 00:00: 1 while disarmed."""
    zone: tzinfo | None = None
    """Of the windows; None for the time zone of the machine."""

    @classmethod
    def parse(cls, windows: Sequence[str], zone: tzinfo | None = None) -> Schedule:
        """Return the schedule with these windows. Raises `UserError` for a wrong one, or if it never arms."""
        week = bytearray(WEEK_MIN)
        for text in windows:
            days, first_min, length_min = _parse_window(text)
            for day in days:
                for minute in range(first_min, first_min + length_min):
                    week[(day * DAY_MIN + minute) % WEEK_MIN] = 1
        if all(week):
            raise UserError("the schedule never arms", "it never arms: expected windows that leave some time out")
        return cls(bytes(week), zone)

    def is_disarmed(self, now: datetime) -> bool:
        """Return whether a time, in any time zone, lies in a window."""
        return bool(self.week[_minute(now.astimezone(self.zone))])

    def next_change(self, now: datetime) -> datetime | None:
        """Return when the window of `now` ends or the next one begins, in UTC; None without windows."""
        local = now.astimezone(self.zone)
        minute = _minute(local)
        change = (self.week * 2).find(1 - self.week[minute], minute)
        if change < 0:
            return None
        at = local.replace(second=0, microsecond=0, tzinfo=None) + timedelta(minutes=change - minute)
        return (at.replace(tzinfo=self.zone) if self.zone else at).astimezone(UTC)


def _minute(local: datetime) -> int:
    return local.weekday() * DAY_MIN + local.hour * 60 + local.minute


def _parse_window(text: str) -> tuple[list[int], int, int]:
    """Return the days of a window, its first minute of the day and its length in minutes. Raises `UserError`."""
    match = _WINDOW.fullmatch(text.strip().lower())
    days = _parse_days(match[1]) if match else []
    if match and days:
        first_min, last_min = (int(match[at]) * 60 + int(match[at + 1]) for at in (2, 4))
        minutes_valid = int(match[3]) < 60 and int(match[5]) < 60
        if minutes_valid and first_min < DAY_MIN and last_min <= DAY_MIN and first_min != last_min:
            return days, first_min, (last_min - first_min) % DAY_MIN or DAY_MIN
    raise UserError(f"{one_line(text, 50)!r} is not a window", f"{EXPECTED}, not {one_line(text, 50)!r}")


def _parse_days(text: str) -> list[int]:
    """Return the days in a list such as "mon-wed,sat", from 0 for Monday; none if one is wrong."""
    days: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (last if dash else first) not in DAYS:
            return []
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days += [(begin + offset) % len(DAYS) for offset in range((end - begin) % len(DAYS) + 1)]
    return days


def parse_weekly(text: str) -> timedelta:
    """Return a moment of the week as the time since Monday 00:00. Raises `UserError`."""
    match = _MOMENT.fullmatch(text.strip().lower())
    if match is None:
        raise UserError(f'weekly = "{text}"', 'expected a day and a time, such as "Sun 10:00"')
    return timedelta(days=DAYS.index(match[1]), hours=int(match[2]), minutes=int(match[3]))


def last_moment(since_monday: timedelta, now: datetime) -> datetime:
    """Return the last time, `now` included, at which a weekly moment came.

    Args:
        since_monday: as returned by `parse_weekly`.
        now: local time without a time zone.
    """
    monday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=now.weekday())
    moment = monday + since_monday
    return moment if moment <= now else moment - WEEK
