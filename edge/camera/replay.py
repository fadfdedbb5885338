"""How a recording is played, and when its frames are due in real time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)

MAX_GAP_S = 10.0
MAX_REGULAR_GAP_S = 100.0  # where the gap before was as long: images may be played at 0.01 a second


class Replay(StrEnum):
    """How to play a recording; cameras are always real time."""

    REALTIME = "realtime"  # at its own speed; frames that arrive while the model is busy are dropped
    EVERY_FRAME = "every-frame"  # as fast as the model runs; no frame is dropped


@dataclass
class ReplayClock:
    """Turns times of a recording into times on the clock. Gaps in its time stamps are shortened.

    Args:
        name: of the recording, for the log.
        started_s: when the last frame was due.
        t_s: time of the last frame in the recording.
        max_gap_s: longest time between two frames, unless they are that far apart regularly.
    """

    name: str
    started_s: float
    t_s: float
    max_gap_s: float = MAX_GAP_S
    gap_s: float = 0.0
    """The last gap."""

    def due_s(self, t_s: float) -> float:
        """Return when the next frame is due."""
        before_s, self.gap_s = self.gap_s, t_s - self.t_s
        longest_s = MAX_REGULAR_GAP_S if self.gap_s <= 1.5 * before_s else self.max_gap_s
        if self.gap_s > longest_s:
            log.warning("%s: gap of %.0f s in the time stamps shortened to %g s", self.name, self.gap_s, longest_s)
        self.started_s, self.t_s = self.started_s + min(self.gap_s, longest_s), t_s
        return self.started_s
