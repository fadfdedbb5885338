"""What a run observes of its model: time per pass, and how often it detects fire while no alarm is raised."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

from edge.config_tables import UpdateSection
from edge.messages import FrameResult

MARKED_SHARE = 0.001
"""Area fraction of fire pixels from which a frame counts as marked."""
FIRE_LEAD_S = 10.0
"""Results this long before an alarm do not count: they show the fire."""
MIN_RESULTS = 50
"""Judge a model from this many results on."""
KEPT = 600


@dataclass
class Observation:
    """The last results of one model.

    Example:
        >>> seen = Observation()
        >>> seen.add(result, now_s=12.5)
        >>> seen.marked_fraction
        0.0
    """

    pass_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Inference time per pass."""
    _recent: deque[tuple[float, bool]] = field(default_factory=deque)
    _marked: deque[bool] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, result: FrameResult, now_s: float) -> None:
        """Count a result, unless it belongs to a fire, a drill or a camera that cannot see."""
        self.pass_ms.append(result.inference_ms / max(result.passes, 1))
        if result.drill or result.camera_problem or any(result.alarms.values()):
            self._recent.clear()
            return
        self._recent.append((now_s, result.fire_share >= MARKED_SHARE))
        while self._recent[0][0] < now_s - FIRE_LEAD_S:
            self._marked.append(self._recent.popleft()[1])

    @property
    def results(self) -> int:
        """Number of results that count."""
        return len(self._marked)

    @property
    def marked_fraction(self) -> float:
        return sum(self._marked) / len(self._marked) if self._marked else 0.0

    @property
    def median_ms(self) -> float:
        return statistics.median(self.pass_ms) if self.pass_ms else 0.0


def objection(new: Observation, old: Observation, limits: UpdateSection) -> str:
    """Return why a new model must be rolled back; empty if there is no reason."""
    if len(new.pass_ms) >= MIN_RESULTS and len(old.pass_ms) >= MIN_RESULTS:
        slower = too_slow(new.median_ms, old.median_ms, limits.max_slower)
        if slower:
            return slower
    if new.results >= MIN_RESULTS:
        return marks_too_much(new.marked_fraction, old.marked_fraction, limits.max_marked)
    return ""


def too_slow(new_ms: float, old_ms: float, max_slower: float) -> str:
    """Return what is wrong with a model's time per pass; empty if it is within the limit."""
    if new_ms <= max_slower * old_ms:
        return ""
    return f"it takes {new_ms:.1f} ms per pass, the old one {old_ms:.1f} ms: more than {max_slower:g} times as long"


def marks_too_much(new: float, old: float, limit: float) -> str:
    """Return what is wrong with the fraction of frames without an alarm in which a model detects fire."""
    if new <= max(limit, old):
        return ""
    return f"it detects fire in {new:.1%} of the frames without an alarm, the old one in {old:.1%}: above {limit:.1%}"
