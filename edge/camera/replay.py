"""When the frames of a recording are due in real time."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)

MAX_GAP_S = 10.0


@dataclass
class ReplayClock:
    """Turns times of a recording into times on the clock. Gaps in its time stamps are shortened.

    Args:
        name: of the recording, for the log.
        started_s: when the first frame was shown.
        t_s: time of the first frame.
        max_gap_s: longest time between two frames.
    """

    name: str
    started_s: float
    t_s: float
    max_gap_s: float = MAX_GAP_S

    def due_s(self, t_s: float) -> float:
        """Return when the next frame is due."""
        gap_s = t_s - self.t_s
        if gap_s > self.max_gap_s:
            log.warning("%s: gap of %.0f s in the time stamps shortened to %g s", self.name, gap_s, self.max_gap_s)
            gap_s = self.max_gap_s
        self.started_s, self.t_s = self.started_s + gap_s, t_s
        return self.started_s
