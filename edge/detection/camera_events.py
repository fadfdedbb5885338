"""Camera events: one when the camera cannot see any more, one when it can again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from edge.messages import PROBLEM, RECOVERED, CameraEvent, CameraProblem, FrameResult

log = logging.getLogger(__name__)


@dataclass(eq=False)
class CameraEventTracker:
    """Turns the camera problems of results into events, and logs them."""

    now: Callable[[], datetime]
    new_id: Callable[[datetime, str], str]
    """Makes an id from time and problem."""
    _problem: CameraProblem | None = field(default=None, init=False)
    _id: str = field(default="", init=False)
    _started_t_s: float = field(default=0.0, init=False)

    def update(self, result: FrameResult, *, model_sha256: str, source: str) -> list[CameraEvent]:
        """Return the events of a result. Another problem ends the one before."""
        if result.camera_problem is self._problem:
            return []
        events = []

        def add(kind: str, number: int, problem: CameraProblem) -> None:
            time = self.now().isoformat(timespec="milliseconds")
            events.append(
                CameraEvent(
                    self._id, number, kind, problem, time, result.t_s, self._started_t_s, result.alarm,
                    model_sha256, source, result.rgb,
                )
            )  # fmt: skip

        if self._problem:
            add(RECOVERED, 2, self._problem)
        self._problem = result.camera_problem
        if self._problem:
            self._id, self._started_t_s = self.new_id(self.now(), f"camera {self._problem}"), result.t_s
            add(PROBLEM, 1, self._problem)
            alarm = "; a fire alarm is raised, without a current picture" if result.alarm else ""
            log.warning("%s: the camera cannot see (%s)%s", source, self._problem, alarm)
        else:
            log.info("%s: the camera can see again", source)
        return events
