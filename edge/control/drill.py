"""The fire drill: a painted flame in the camera's own frames tests every link from the model to the receivers.

The flame is laid as light over the frames before the detector processes them. Its alarm and events are marked as a
drill's and delivered as usual; the drill records when each link received them, or why it did not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

import cv2
import numpy as np

from edge.camera.capture import TimedFrame
from edge.control.actions import Answer, Arguments, allow_only
from edge.control.saved_state import SavedState
from edge.control.schedule import last_moment, parse_weekly
from edge.detection.zones import Cells
from edge.errors import UserError, one_line
from edge.flames import PaintedFlame, box_around, lay, resized
from edge.messages import START, Event, FireEvent, FrameResult
from edge.run_status import DrillStatus, DrillStep, Link

log = logging.getLogger(__name__)

PAINT_S = 10.0
"""The flame is painted for at most this long; an alarm usually takes one to four seconds."""
DELIVERY_S = 10.0
"""Receivers must have the event within this time of the alarm."""
HEIGHTS, GROW_S = (0.06, 0.25), 3.0
"""Height of the flame as a fraction of the frame's, at first and after it has grown for `GROW_S`."""
SOOT = 0.85
MARGIN = 0.03
"""A region may reach this far beyond the flame, as a fraction of the frame: the model's cells are coarse."""
STALE_S = 10.0
"""No drill begins if the last frame is older."""
LATE = timedelta(minutes=5)
"""A weekly drill that is later than this, such as after the clock was set, is skipped."""
SEEN, ALARM = "seen", "alarm"
KEY = "drill"  # of the saved state


@dataclass
class _Course:
    """A drill in progress."""

    zone: str
    centre: tuple[float, float]
    started: str
    started_s: float
    flame: PaintedFlame = field(default_factory=PaintedFlame)
    painted_s: float | None = None
    """When the flame was painted for the first time."""
    after_ms: dict[str, float] = field(default_factory=dict)
    """When each link received it, by its name."""
    event: FireEvent | None = None
    alarm_s: float = 0.0


class Drill:
    """Carries out fire drills, one at a time. All calls come from the loop's thread.

    Args:
        zones: returns the cells of each zone, by its name.
        links: returns the receivers to check.
        saved: keeps the last drill.
        weekly: when a drill begins each week; empty for never.
        clock: monotonic seconds.
        now: local time with its zone.

    Example:
        >>> drill = Drill(lambda: detector.zones.cells, sinks.links, SavedState(path))
        >>> drill.start({"zone": "stove"})
        >>> result, events = detector.process(drill.paint(frame))
        >>> drill.observe(result, events)
    """

    def __init__(
        self,
        zones: Callable[[], Mapping[str, Cells]],
        links: Callable[[], Sequence[Link]],
        saved: SavedState,
        *,
        weekly: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._zones, self._links, self._saved = zones, links, saved
        self.weekly = weekly
        self._clock, self._now = clock, now
        self._course: _Course | None = None
        self._last = _read(saved)
        self._result: FrameResult | None = None
        self._result_s = 0.0
        self._polled = self._local_time()

    @property
    def status(self) -> DrillStatus | None:
        """The current drill, or the last one."""
        if (course := self._course) is None:
            return self._last
        return DrillStatus(True, course.zone, course.started, self._steps(course), last_passed=self._last_passed)

    def start(self, arguments: Arguments) -> Answer:
        """Begin a drill in `zone`, by default the first. Raises `UserError` if none can begin now."""
        allow_only(arguments, "zone")
        zones = self._zones()
        zone = arguments.get("zone") or next(iter(zones))
        if not isinstance(zone, str) or zone not in zones:
            raise UserError(f"there is no zone {one_line(repr(zone))}", f"expected one of {', '.join(zones)}")
        if reason := self._obstacle():
            raise UserError(f"no fire drill now: {reason}", "try again later")
        started = self._now().isoformat(timespec="milliseconds")
        self._course = _Course(zone, deepest_point(zones[zone]), started, self._clock())
        return {"started": True, "time": started, "zone": zone}

    def paint(self, frame: TimedFrame) -> TimedFrame:
        """Return the frame with the flame, during a drill; otherwise the frame itself."""
        course, now_s = self._course, self._clock()
        if course is None or now_s - course.started_s >= PAINT_S:
            return frame
        if course.painted_s is None:
            course.painted_s = now_s
        t_s, height_px = now_s - course.painted_s, frame.rgb.shape[0]
        height = float(np.interp(t_s, (0, GROW_S), HEIGHTS))
        flame = resized(course.flame.at(t_s), max(1, round(height * height_px)))
        side = HEIGHTS[1] + 2 * MARGIN
        box = box_around(course.centre, side * PaintedFlame.ASPECT * height_px / frame.rgb.shape[1], side)
        return replace(frame, rgb=lay(frame.rgb, flame, course.centre, soot=SOOT), model_rgb=None, drill_box=box)

    def observe(self, result: FrameResult, events: Sequence[Event]) -> None:
        """Record the result of a frame, after the sinks have received it."""
        self._result, self._result_s = result, self._clock()
        course = self._course
        if course is None or course.painted_s is None:
            return
        if result.alarm:
            self._finish(course, "a real alarm was raised")
            return
        after_ms = 1000 * (self._result_s - course.painted_s)
        if any(track.drill for track in result.tracks):
            course.after_ms.setdefault(SEEN, after_ms)
        for event in events:
            if not isinstance(event, FireEvent) or not event.drill or event.kind != START:
                continue
            if event.zone == course.zone and course.event is None:
                course.event, course.alarm_s = event, self._result_s
                course.after_ms[ALARM] = after_ms

    def poll(self) -> None:
        """Begin a weekly drill that is due, record deliveries, and end the drill after the last one or in time."""
        self._poll_weekly()
        course, now_s = self._course, self._clock()
        if course is None:
            return
        if course.event is None:
            if now_s - course.started_s >= PAINT_S:
                self._finish(course)
            return
        links = self._links()
        for link in links:
            if link.last and link.last.id == course.event.id:
                course.after_ms.setdefault(link.name, link.last.took_ms)
        if now_s - course.alarm_s >= DELIVERY_S or all(link.name in course.after_ms for link in links):
            self._finish(course)

    def _obstacle(self) -> str:
        """Return why no drill can begin now; empty if one can."""
        result = self._result
        if self._course:
            return "one is in progress"
        if result is None or self._clock() - self._result_s >= STALE_S:
            return "no frame arrives"
        if result.alarm:
            return "an alarm is raised"
        if result.camera_problem:
            return f"the camera cannot see: {result.camera_problem}"
        return "detection is paused under infrared light" if result.paused else ""

    def _steps(self, course: _Course, *, is_final: bool = False) -> tuple[DrillStep, ...]:
        seen = "the model did not detect the flame" if course.painted_s else "no frame arrived"
        alarm = f"no alarm within {PAINT_S:g} s" if SEEN in course.after_ms else "not reached"
        problems = {SEEN: seen, ALARM: alarm}
        if course.event:
            late = f"not delivered within {DELIVERY_S:g} s"
            problems |= {link.name: link.problem or late for link in self._links()}
        return tuple(
            DrillStep(name, round(course.after_ms[name], 1))
            if name in course.after_ms
            else DrillStep(name, problem=problem if is_final else "")
            for name, problem in problems.items()
        )

    def _finish(self, course: _Course, problem: str = "") -> None:
        self._course = None
        steps = () if problem else self._steps(course, is_final=True)
        passed = None if problem else not any(step.problem for step in steps)
        self._keep(DrillStatus(False, course.zone, course.started, steps, passed, problem))

    def _keep(self, status: DrillStatus) -> None:
        """Keep and log the outcome of a drill."""
        self._last = replace(status, last_passed=status.started if status.passed else self._last_passed)
        self._saved[KEY] = asdict(self._last)
        broken = ", ".join(f"{step.name}: {step.problem}" for step in status.steps if step.problem)
        if status.passed:
            log.info("fire drill passed: %s", ", ".join(map(step_text, status.steps)))
        else:
            log.warning("fire drill %s: %s", "failed" if broken else "stopped", broken or status.problem)

    @property
    def _last_passed(self) -> str:
        return self._last.last_passed if self._last else ""

    def _local_time(self) -> datetime:
        return self._now().replace(tzinfo=None)

    def _poll_weekly(self) -> None:
        if not self.weekly:
            return
        before, self._polled = self._polled, self._local_time()
        moment = last_moment(parse_weekly(self.weekly), self._polled)
        if before < moment and self._polled - moment < LATE:
            try:
                self.start({})
                log.info("the weekly fire drill begins")
            except UserError as error:
                self._keep(DrillStatus(False, "", self._now().isoformat(timespec="milliseconds"), problem=str(error)))


def step_text(step: DrillStep) -> str:
    """Return one link as text, such as "alarm after 1.6 s" or "webhook: connection refused"."""
    if step.problem:
        return f"{step.name}: {step.problem}"
    if step.after_ms is None:
        return f"{step.name}: waiting"
    unit = f"{step.after_ms / 1000:.1f} s" if step.name in (SEEN, ALARM) else f"{step.after_ms:.0f} ms"
    return f"{step.name} after {unit}"


def deepest_point(cells: Cells) -> tuple[float, float]:
    """Return the point of a zone far from its border and nearest to its middle, as fractions of the frame."""
    depth = cv2.distanceTransform(np.pad(cells, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.9 * depth.max())
    row, column = (int(np.median(values)) for values in np.nonzero(cells))
    nearest = np.argmin((rows - row) ** 2 + (columns - column) ** 2)
    height, width = cells.shape
    return float(columns[nearest] + 0.5) / width, float(rows[nearest] + 0.5) / height


def _read(saved: SavedState) -> DrillStatus | None:
    """Return the last drill of an earlier run; None without one, or if it is not as this version writes it."""
    try:
        values = dict(saved.get(KEY))
        steps = tuple(DrillStep(**step) for step in values.pop("steps"))
        status = DrillStatus(steps=steps, **values)
        texts = [status.zone, status.started, status.problem, status.last_passed]
        texts += [text for step in steps for text in (step.name, step.problem)]
        is_valid = all(isinstance(text, str) for text in texts) and isinstance(status.passed, bool | None)
        numbers = (step.after_ms for step in steps if step.after_ms is not None)
        is_valid = is_valid and all(isinstance(number, int | float) and 0 <= number < 1e6 for number in numbers)
        if status.last_passed:
            is_valid = is_valid and datetime.fromisoformat(status.last_passed).timestamp() >= 0
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    return replace(status, running=False) if is_valid else None
