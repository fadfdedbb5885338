"""Arm, disarm and snooze the alarm, by actions and by the weekly schedule. Fires are detected and recorded regardless.

A chosen silence runs on the monotonic clock and survives a restart. Neither a wall clock that steps or stops nor a
restart prolongs it: a Raspberry Pi without a network does not know the time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, tzinfo

from edge.config_tables import MAX_DISARM_H, MAX_SNOOZE_MIN, ArmingSection
from edge.control.actions import Actions, Answer, Arguments, allow_only, number_argument, text_argument
from edge.control.saved_state import SavedState
from edge.control.schedule import Schedule
from edge.messages import Silence
from edge.run_status import ArmingStatus

log = logging.getLogger(__name__)

SAVED_STEPS = 60
"""A silence is saved this many times, each time with one step less, so that a killed run ends it early, never late."""
ARMED_UNTIL = "armed_until"  # key: the end of the window of the schedule in which the alarm was armed
Now = Callable[[], datetime]


class Countdown:
    """The time left of a chosen silence, in seconds of the monotonic clock, continued after a restart.

    Args:
        key: of the saved state.
        max_s: the longest that can be chosen; a saved one above it is ignored.
        clock: monotonic seconds.
        now: the wall clock, in UTC.
    """

    def __init__(self, key: str, max_s: float, saved: SavedState, clock: Callable[[], float], now: Now) -> None:
        self._key, self._saved, self._clock, self._now = key, saved, clock, now
        self._ends_s = self._step_s = self._saved_left_s = 0.0
        self._runs = False
        left_s = self._restored_s()
        if 0 < left_s <= max_s:
            self.start(left_s)
        else:
            self.stop()

    def start(self, duration_s: float) -> None:
        """Restart with this duration; 0 stops."""
        if duration_s <= 0:
            self.stop()
            return
        self._runs, self._ends_s = True, self._clock() + duration_s
        self._step_s = max(duration_s / SAVED_STEPS, 1.0)
        self._save(duration_s - self._step_s)

    def stop(self) -> None:
        self._runs = False
        self._saved[self._key] = None

    def left_s(self) -> float:
        """Return the seconds left; 0 at the end."""
        if not self._runs:
            return 0.0
        left_s = self._ends_s - self._clock()
        if left_s <= 0:
            self.stop()
            return 0.0
        if left_s < self._saved_left_s:
            self._save(left_s - self._step_s)
        return left_s

    def close(self) -> None:
        """Save the seconds left, for a run that ends in order."""
        if left_s := self.left_s():
            self._save(left_s)

    def _save(self, left_s: float) -> None:
        self._saved_left_s = left_s
        until = self._now() + timedelta(seconds=left_s)
        value = {"until": until.isoformat(timespec="seconds"), "left_s": int(left_s)}
        self._saved[self._key] = value if left_s >= 1 else None

    def _restored_s(self) -> float:
        """Return the seconds left of an earlier run: the smaller of those by the wall clock and those saved."""
        saved = self._saved.get(self._key)
        try:
            until_s = (datetime.fromisoformat(saved["until"]) - self._now()).total_seconds()
            return min(until_s, float(saved["left_s"]))
        except (TypeError, ValueError, KeyError, OverflowError):
            return 0.0


class Arming:
    """Whether fires are notified now. For the loop's thread alone.

    Args:
        section: of the configuration.
        saved: keeps silences for the next run.
        clock: monotonic seconds.
        now: the wall clock, in UTC.
        zone: of the schedule; None for the time zone of the machine.

    Example:
        >>> arming = Arming(ArmingSection(), SavedState(path))
        >>> arming.snooze({"minutes": 60})["snoozed_until"]
        '2026-11-26T18:05:00+00:00'
        >>> arming.silence()
        <Silence.SNOOZED: 'snoozed'>
    """

    def __init__(
        self,
        section: ArmingSection,
        saved: SavedState,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Now = lambda: datetime.now(UTC),
        zone: tzinfo | None = None,
    ) -> None:
        self._saved, self._clock, self._now, self._zone = saved, clock, now, zone
        self._disarmed = Countdown("disarmed", MAX_DISARM_H * 3600, saved, clock, now)
        self._snoozed = Countdown("snoozed", MAX_SNOOZE_MIN * 60, saved, clock, now)
        self._logged = ""
        self.configure(section)

    def configure(self, section: ArmingSection) -> None:
        """Use another schedule and other defaults."""
        self._section = section
        self._schedule = Schedule.parse(section.disarmed, self._zone)
        self._window_ends_s: float | None = None  # None outside the windows of the schedule

    def register(self, actions: Actions, acknowledge: Callable[[str | None], list[str]]) -> None:
        """Offer the actions arm, disarm, snooze and acknowledge.

        Args:
            acknowledge: silences the fires of a zone, or of all zones, and returns the zones. Raises `UserError`.
        """

        def acknowledge_fires(arguments: Arguments) -> Answer:
            allow_only(arguments, "zone")
            return {"zones": acknowledge(text_argument(arguments, "zone") if "zone" in arguments else None)}

        actions.register("arm", self.arm)
        actions.register("disarm", self.disarm)
        actions.register("snooze", self.snooze)
        actions.register("acknowledge", acknowledge_fires)

    def arm(self, arguments: Arguments) -> Answer:
        """End disarming and snooze; in a window of the schedule, until the window ends."""
        allow_only(arguments)
        self._disarmed.stop()
        self._snoozed.stop()
        now = self._now()
        if self._window_left_s(now):
            self._window_ends_s = self._clock()
            self._saved[ARMED_UNTIL] = str(self._schedule.next_change(now))
        return asdict(self.status())

    def disarm(self, arguments: Arguments) -> Answer:
        """Disarm for `hours`."""
        allow_only(arguments, "hours")
        hours = number_argument(arguments, "hours", self._section.disarm_h, low=0.01, high=MAX_DISARM_H)
        self._disarmed.start(hours * 3600)
        return asdict(self.status())

    def snooze(self, arguments: Arguments) -> Answer:
        """Snooze for `minutes`; 0 ends it."""
        allow_only(arguments, "minutes")
        minutes = number_argument(arguments, "minutes", self._section.snooze_min, low=0, high=MAX_SNOOZE_MIN)
        self._snoozed.start(minutes * 60)
        return asdict(self.status())

    def silence(self) -> Silence | None:
        """Return why fires are silenced now; None while they are not."""
        return self.status().silence

    def status(self) -> ArmingStatus:
        """Return the state; log it if it has changed."""
        now = self._now()
        disarmed_s, snoozed_s = max(self._disarmed.left_s(), self._window_left_s(now)), self._snoozed.left_s()
        change = self._schedule.next_change(now)
        status = ArmingStatus(
            armed=not disarmed_s,
            disarmed_until=_until(now, disarmed_s),
            disarmed_left_s=round(disarmed_s, 1),
            snoozed_until=_until(now, snoozed_s),
            snoozed_left_s=round(snoozed_s, 1),
            next_change=change.isoformat(timespec="seconds") if change else None,
            disarm_h=self._section.disarm_h,
            snooze_min=self._section.snooze_min,
        )
        if status.silence != self._logged and (status.silence or self._logged):
            left_s = snoozed_s if status.armed else disarmed_s
            until = (now + timedelta(seconds=left_s)).astimezone(self._zone)
            log.warning("%s", f"{status.silence} until {until:%a %H:%M}" if status.silence else "armed")
        self._logged = status.silence or ""
        return status

    def close(self) -> None:
        """Save the time left of a silence."""
        self._disarmed.close()
        self._snoozed.close()

    def _window_left_s(self, now: datetime) -> float:
        """Return for how many seconds the schedule still disarms; 0 outside its windows, and after arming in one.

        A window ends by the wall clock, or after its length by the monotonic clock, whichever is first.
        """
        end = self._schedule.next_change(now)
        if end is None or not self._schedule.is_disarmed(now):
            self._window_ends_s = self._saved[ARMED_UNTIL] = None
            return 0.0
        left_s = (end - now).total_seconds()
        if self._window_ends_s is None:
            self._window_ends_s = self._clock() + (0.0 if self._is_armed_until(now) else left_s)
        return max(0.0, min(left_s, self._window_ends_s - self._clock()))

    def _is_armed_until(self, now: datetime) -> bool:
        try:
            return datetime.fromisoformat(self._saved.get(ARMED_UNTIL)) > now
        except (TypeError, ValueError):
            return False


def _until(now: datetime, left_s: float) -> str | None:
    return (now + timedelta(seconds=left_s + 0.5)).isoformat(timespec="seconds") if left_s else None
