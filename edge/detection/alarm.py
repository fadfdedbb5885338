"""From fire area over time to an alarm: pure functions, for one zone.

An alarm is raised when K of the last N results exceed the on-level and the region flickers like flame. It is cleared
after a time below the off-level. Between the two levels nothing changes, so that a borderline fire does not chatter.

`edge.detection.flicker` measures flicker from images; this module only applies the rules.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from edge.config_schema import field


@dataclass(frozen=True)
class AlarmRules:
    """When an alarm is raised and cleared."""

    on_share: float = field(
        0.005, "On-level: a result counts as fire if at least this fraction of the zone is fire.", low=0.00001, high=1
    )
    off_share: float = field(
        0.002, "Off-level: an alarm stays raised while more than this fraction of the zone is fire.", low=0, high=1
    )
    on_results: int = field(5, "Raise the alarm when this many recent results count as fire …", low=1, high=1000)
    of_results: int = field(8, "… of this many recent results.", low=1, high=1000)
    off_after_s: float = field(
        5.0, "Clear the alarm after this many consecutive seconds at or below the off-level.", low=0, high=86_400
    )
    require_flicker: bool = field(
        True,
        "Require flicker. Rejects lamps, sunsets, red vehicles and objects carried past. Disable it for frames "
        "seconds apart, and for a moving camera.",
    )
    flicker_threshold: float = field(
        0.06,
        "Minimum flicker for an alarm: image change of the fire region within 0.2 s, from 0 to 1, median of recent "
        "results. Typical values: fires from 0.15, lamps below 0.01, passing objects below 0.06.",
        low=0,
        high=1,
    )
    memory_s: float = field(
        30.0, "Results older than this many seconds raise no alarm, as after an outage.", low=0, high=86_400
    )


@dataclass(frozen=True)
class Observation:
    """One result in one zone."""

    t_s: float
    share: float
    """Fire area as a fraction of the zone."""
    flicker: float | None
    """Image change of the fire region, 0..1; None if not compared."""


@dataclass(frozen=True)
class AlarmState:
    """The whole state of one alarm."""

    raised: bool = False
    recent: tuple[Observation, ...] = ()
    """The last N observations, oldest first."""
    below_since_s: float | None = None
    """Since when a raised alarm has been at or below the off-level."""


def step(state: AlarmState, observation: Observation, rules: AlarmRules) -> AlarmState:
    """Return the state after one more observation. Observations come in time order."""
    last = (*state.recent, observation)[-rules.of_results :]
    recent = tuple(past for past in last if 0 <= observation.t_s - past.t_s <= rules.memory_s)
    if not state.raised:
        return AlarmState(raised=is_fire(recent, rules), recent=recent)
    if observation.share > rules.off_share:
        return replace(state, recent=recent, below_since_s=None)
    below_since_s = observation.t_s if state.below_since_s is None else state.below_since_s
    if observation.t_s - below_since_s >= rules.off_after_s:
        return AlarmState(recent=recent)
    return replace(state, recent=recent, below_since_s=below_since_s)


def is_fire(recent: tuple[Observation, ...], rules: AlarmRules) -> bool:
    """Return whether enough results count as fire and flicker. The median ignores a single camera jump or flash."""
    fire = [past for past in recent if past.share >= rules.on_share]
    if rules.require_flicker:
        fire = [past for past in fire if past.flicker is not None]
    if len(fire) < rules.on_results:
        return False
    return (
        not rules.require_flicker or statistics.median(past.flicker or 0.0 for past in fire) >= rules.flicker_threshold
    )
