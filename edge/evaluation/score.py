"""From alarm times to a score: pure functions, with the source of each formula.

An alarm is true from 5 s before a fire, as in the ONFIRE contests of 2023 and 2025 (https://mivia.unisa.it/onfire2025),
until the fire ends and `GRACE_S` later. The first true alarm gives the delay; further ones in that time are neither
true nor false. Any other alarm is false: in a recording without fire, too early, or too late.

Decisions for cases that the contest leaves open:

- An alarm that is raised too early and stays raised is false, and the fire counts as missed: nothing new is reported.
- A recording that ends before a window does counts in it like any other. A fire that is missed there is missed.
- The delay of an early alarm is its distance from the fire, as in the contest: |alarm - fire|.
- The contest stops a recording at its first alarm. Here a recording is a false positive if it has any false
  alarm, once; a fire can be a true positive as well. False alarms an hour count each alarm.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge.evaluation.recordings import Label, Recording

EARLY_S = 5.0
"""An alarm up to this long before the fire is true: ONFIRE's tolerance for the labelled begin."""
GRACE_S = 5.0
"""An alarm up to this long after the fire is not false: smoke and embers remain, and an alarm takes some seconds."""
WINDOWS_S = (5.0, 10.0, 30.0)
"""Recall is stated within these delays. 30 s is what EN 54-10 and ISO 7240-10 allow a flame detector."""
MAX_DELAY_S = 60.0
"""ONFIRE's score is 0 from this mean delay on."""
TARGET_FPS = 10.0
TARGET_GB = 4.0
"""ONFIRE scores a slower rate or more memory lower."""
CONFIDENCE = 0.95
PRECISION = 1e-9  # of an interval's bounds


@dataclass(frozen=True)
class Outcome:
    """The alarms of one detector in one recording."""

    recording: Recording
    duration_s: float
    alarms_s: tuple[float, ...]
    """Times at which an alarm was raised, in any zone, in order."""

    @property
    def has_fire(self) -> bool:
        return self.recording.label == Label.FIRE

    @property
    def true_alarms_s(self) -> tuple[float, ...]:
        """Alarms in the time of the fire; only the first one counts."""
        return tuple(t_s for t_s in self.alarms_s if self._is_true(t_s))

    @property
    def false_alarms_s(self) -> tuple[float, ...]:
        """False alarms; none for a recording that is not scored."""
        if self.recording.label == Label.ANY:
            return ()
        return tuple(t_s for t_s in self.alarms_s if not self._is_true(t_s))

    @property
    def delay_s(self) -> float | None:
        """Return the time between the begin of the fire and the first true alarm; None if the fire is missed."""
        true_alarms_s = self.true_alarms_s
        return abs(true_alarms_s[0] - self.recording.fire_from_s) if true_alarms_s else None

    @property
    def watched_s(self) -> float:
        """Return the seconds in which an alarm would be false."""
        if self.recording.label == Label.ANY:
            return 0.0
        if not self.has_fire:
            return self.duration_s
        after_s = self.duration_s - self.recording.fire_to_s - GRACE_S
        return max(0.0, self.recording.fire_from_s - EARLY_S) + max(0.0, after_s)

    def _is_true(self, t_s: float) -> bool:
        begin_s, end_s = self.recording.fire_from_s - EARLY_S, self.recording.fire_to_s + GRACE_S
        return self.has_fire and begin_s <= t_s <= end_s


@dataclass(frozen=True)
class Score:
    """The score of one detector over recordings. None where nothing was there to count."""

    fires: int
    detected: int
    recordings_without_fire: int
    false_alarms: int
    watched_hours: float
    """Time in which an alarm would be false."""
    precision: float | None
    recall: float | None
    recall_within: dict[float, float] | None
    """Share of fires with an alarm within each of `WINDOWS_S`."""
    median_delay_s: float | None
    """Of the detected fires."""
    mean_delay_s: float | None
    fds: float | None
    """ONFIRE's score without its terms for frame rate and memory."""
    false_alarms_per_hour: float | None
    false_alarms_interval: tuple[float, float] | None
    """Exact two-sided 95 % interval of false alarms an hour."""


def score(outcomes: Sequence[Outcome]) -> Score:
    """Return the score of the outcomes of one detector; recordings labelled `any` do not count.

    FDS = P · R · max(0, 60 − mean delay) / 60 (ONFIRE 2023 and 2025), with P and R over recordings.
    """
    fires = [outcome for outcome in outcomes if outcome.has_fire]
    delays_s = [fire.delay_s for fire in fires if fire.delay_s is not None]
    false_alarms = sum(len(outcome.false_alarms_s) for outcome in outcomes)
    false_positives = sum(bool(outcome.false_alarms_s) for outcome in outcomes)
    hours = sum(outcome.watched_s for outcome in outcomes) / 3600
    positives = len(delays_s) + false_positives
    precision = len(delays_s) / positives if positives else None
    recall = len(delays_s) / len(fires) if fires else None
    interval = poisson_interval(false_alarms)
    return Score(
        fires=len(fires),
        detected=len(delays_s),
        recordings_without_fire=sum(outcome.recording.label == Label.NONE for outcome in outcomes),
        false_alarms=false_alarms,
        watched_hours=hours,
        precision=precision,
        recall=recall,
        recall_within={w: sum(d <= w for d in delays_s) / len(fires) for w in WINDOWS_S} if fires else None,
        median_delay_s=statistics.median(delays_s) if delays_s else None,
        mean_delay_s=statistics.fmean(delays_s) if delays_s else None,
        fds=fire_detection_score(precision or 0.0, recall, delays_s) if recall is not None else None,
        false_alarms_per_hour=false_alarms / hours if hours else None,
        false_alarms_interval=(interval[0] / hours, interval[1] / hours) if hours else None,
    )


def fire_detection_score(precision: float, recall: float, delays_s: Sequence[float]) -> float:
    """Return ONFIRE's fire detection score without its terms for frame rate and memory, 0..1."""
    if not delays_s:
        return 0.0
    return precision * recall * max(0.0, MAX_DELAY_S - statistics.fmean(delays_s)) / MAX_DELAY_S


def frame_rate_term(fps: float) -> float:
    """Return the divisor by which ONFIRE lowers the score of a detector below 10 frames a second."""
    return 1 + max(0.0, TARGET_FPS / fps - 1)


def memory_term(gigabytes: float) -> float:
    """Return the divisor by which ONFIRE lowers the score of a detector that needs more than 4 GB."""
    return 1 + max(0.0, gigabytes / TARGET_GB - 1)


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a Poisson mean after `count` events (Garwood, Biometrika 28, 1936).

    Example:
        >>> poisson_interval(0)  # one-sided, the upper bound would be 3.0, the "rule of three"
        (0.0, 3.6888794541139363)
    """
    tail = (1 - confidence) / 2
    lower = 0.0 if count == 0 else _mean_where(count - 1, 1 - tail)
    return lower, _mean_where(count, tail)


def _mean_where(count: int, probability: float) -> float:
    """Return the Poisson mean for which at most `count` events have this probability, by bisection."""
    log_factorials = [math.lgamma(k + 1) for k in range(count + 1)]

    def cdf(mean: float) -> float:  # summed in logarithms, so that none overflows
        logs = [k * math.log(mean) - mean - log_factorial for k, log_factorial in enumerate(log_factorials)]
        largest = max(logs)
        return math.exp(largest) * math.fsum(math.exp(value - largest) for value in logs)

    low, high = 0.0, 10.0 + 2 * count + 10 * math.sqrt(count + 1)
    while high - low > PRECISION * high:
        mean = (low + high) / 2
        low, high = (mean, high) if cdf(mean) > probability else (low, mean)  # the probability falls as the mean grows
    return (low + high) / 2
