"""From burning areas over time to an alarm: pure functions, one zone at a time.

An alarm comes on after K of the last N results were above the on-level and what burns was lively; it goes off after a
time under the off-level. Between the two levels nothing changes, so that a fire at the border does not chatter.

Lively means that the picture of what burns changes where it is: flames flicker and lick, while a lamp, a sunset and a
red truck look the same. How much it changed is measured by `edge.detection.flicker`; here only numbers are weighed.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from edge.config_schema import field


@dataclass(frozen=True)
class AlarmRules:
    """When an alarm comes on and goes off."""

    on_share: float = field(
        0.005, "The on-level: a result burns where at least this share of a zone does.", low=0.00001, high=1
    )
    off_share: float = field(
        0.002, "The off-level: an alarm holds while more than this share of a zone burns.", low=0, high=1
    )
    on_results: int = field(5, "The alarm comes on when so many of the last results burn …", low=1, high=1000)
    of_results: int = field(8, "… of this many last results.", low=1, high=1000)
    off_after_s: float = field(
        5.0, "The alarm goes off after so many seconds under the off-level, without a break.", low=0, high=86_400
    )
    require_flicker: bool = field(
        True,
        "Whether what burns must look alive for an alarm to come on: flames do, a lamp, a sunset and a red truck do "
        "not, nor does what is carried past. Switch it off for pictures that come seconds apart from different places, "
        "and for a camera that is on the move itself.",
    )
    flicker_threshold: float = field(
        0.06,
        "What looks alive: how much the picture of what burns changes within a fifth of a second, 0 to 1; the median "
        "of the last results counts. Fires reach 0.15 and more, lamps stay below 0.01, what passes by below 0.06.",
        low=0,
        high=1,
    )
    memory_s: float = field(
        30.0,
        "Results older than this do not count for coming on: a camera that was away begins anew.",
        low=0,
        high=86_400,
    )


@dataclass(frozen=True)
class Observation:
    """One result in one zone."""

    t_s: float
    share: float
    """Burning area, as a share of the zone."""
    change: float | None
    """How much the picture of what burns changed since a moment before, 0..1; None where nothing was compared."""


@dataclass(frozen=True)
class AlarmState:
    """All that an alarm remembers."""

    on: bool = False
    recent: tuple[Observation, ...] = ()
    """The last N observations, oldest first."""
    calm_since_s: float | None = None
    """Since when an alarm that is on has seen nothing above the off-level."""


def step(state: AlarmState, observation: Observation, rules: AlarmRules) -> AlarmState:
    """The state after one more observation. Observations come in order of time."""
    kept = (*state.recent, observation)[-rules.of_results :]
    recent = tuple(seen for seen in kept if 0 <= observation.t_s - seen.t_s <= rules.memory_s)
    if not state.on:
        return AlarmState(on=_comes_on(recent, rules), recent=recent)
    if observation.share > rules.off_share:
        return replace(state, recent=recent, calm_since_s=None)
    calm_since_s = observation.t_s if state.calm_since_s is None else state.calm_since_s
    if observation.t_s - calm_since_s >= rules.off_after_s:
        return AlarmState(recent=recent)
    return replace(state, recent=recent, calm_since_s=calm_since_s)


def is_flickering(recent: tuple[Observation, ...], rules: AlarmRules) -> bool:
    """Whether what burns changes as flames do.

    The median is what counts, so that one jump of the camera or one flash makes nothing lively.
    """
    changes = [seen.change for seen in recent if seen.change is not None and seen.share >= rules.on_share]
    return len(changes) >= rules.on_results and statistics.median(changes) >= rules.flicker_threshold


def _comes_on(recent: tuple[Observation, ...], rules: AlarmRules) -> bool:
    burning = sum(seen.share >= rules.on_share for seen in recent)
    return burning >= rules.on_results and (not rules.require_flicker or is_flickering(recent, rules))
