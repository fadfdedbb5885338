"""From tracks to alarms: which tracks are fire, and which zones they lie in. Pure functions.

A track is confirmed as fire if it is seen in enough recent frames for long enough, flickers, is reddish, and its score
is high enough. When it leaves its place, it is evaluated again: what passes in front of a fire may take over its track.

A zone's alarm is raised while a confirmed track lies in it, and for another `off_after_s` after the track was last seen
there, so that a borderline fire or one on a border does not chatter.

Such rules over time are what lifts the precision of fire detectors at the same recall: 74 to 92 % in FLAME (2025).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2

from edge.config_schema import field
from edge.detection.regions import Region
from edge.detection.tracks import Track, area_variation, is_near, median_of
from edge.detection.zones import Cells

MIN_PART = 0.25
"""A track lies in a zone if this part of its region does, or if it covers this part of the zone: a fire on a border is
in both zones, one that touches a zone is not."""


@dataclass(frozen=True)
class AlarmRules:
    """When a track is fire, and when an alarm is cleared.

    The levels were chosen on 32 recordings, 14 of them with fire, and 84 scenes with small flames laid over them.
    """

    on_results: int = field(5, "An alarm needs a region that is detected in this many recent results …", low=1, high=64)
    of_results: int = field(10, "… of this many; over a longer time, in the same fraction of results.", low=1, high=64)
    on_s: float = field(0.8, "… and over at least this many seconds.", low=0, high=60)
    min_score: float = field(
        0.75,
        "Fire score that an alarm needs. A lower one raises more alarms, false ones too. Most fires score 1.5 to 3, "
        "and most of what resembles fire below 0.5.",
        low=-10,
        high=3,
    )
    require_flicker: bool = field(
        True, "Require flicker. Rejects lamps, sunsets and red vehicles. Disable it for frames seconds apart."
    )
    require_steady: bool = field(
        True, "Require that the region stays in place and keeps its size. Rejects objects that are carried past."
    )
    require_colour: bool = field(
        True, "Require that the region is reddish, unless the camera sends frames without colour. Rejects white lights."
    )
    off_after_s: float = field(5.0, "Clear the alarm after this many seconds without fire.", low=0, high=86_400)
    memory_s: float = field(
        30.0,
        "Results before a gap longer than this many seconds, such as an outage, do not count.",
        low=0,
        high=86_400,
    )


WINDOW_S = 2.0
"""A track is judged by its sightings in this time. With 2 s instead of 1 s, the highest scores of recordings without
fire fall by 0.2 to 0.4, and fires keep theirs."""
MIN_FLICKER, TYPICAL_FLICKER, MAX_FLICKER = 0.03, 0.1, 0.2
"""Nothing below the minimum is fire. Above the maximum, more flicker is not more like fire: people and rain flicker."""
MIN_MEASURED = 2
"""A single flicker value may be a camera jump."""
MIN_REDNESS = 15.0
"""Largest excess of red over blue in a reddish region, in grey levels. Fires 50 to 250, white lights below 5."""


@dataclass(frozen=True)
class Evidence:
    """What the recent frames say about a track."""

    results: int
    """In how many it was seen."""
    ratio: float
    """The fraction of those in which it could have been seen."""
    duration_s: float
    share: float
    """Mean area, as a fraction of the frame."""
    probability: float
    redness: float
    flicker: float | None
    """Median; None with fewer than `MIN_MEASURED` values."""
    overlap: float | None
    area_variation: float


def evidence(track: Track, t_s: float, rules: AlarmRules, since_s: float = -math.inf) -> Evidence:
    """Return what the sightings of the last `WINDOW_S` say, or the last `of_results` if those are more.

    None before `since_s`.
    """
    window = track.recent(rules.of_results, WINDOW_S, t_s, since_s, rules.memory_s)
    seen = [sighting for sighting in window if sighting.region]
    regions = [sighting.region for sighting in seen if sighting.region]
    return Evidence(
        len(seen),
        len(seen) / max(len(window), 1),
        t_s - track.began_s,
        statistics.fmean(region.share for region in regions) if regions else 0.0,
        statistics.fmean(region.probability for region in regions) if regions else 0.0,
        statistics.median(region.redness for region in regions) if regions else 0.0,
        median_of([sighting.flicker for sighting in seen], at_least=MIN_MEASURED),
        median_of([sighting.overlap for sighting in seen]),
        area_variation(seen),
    )


def fire_score(seen: Evidence, rules: AlarmRules) -> float:
    """Return how much a track resembles fire: a sum that is about 0 for objects, and 1 to 3 for fires.

    The weights were set by hand on the recordings that `AlarmRules` names. A logistic regression over the same values,
    trained with one recording left out at a time, raised four false alarms where this sum raises one.
    """
    flicker = TYPICAL_FLICKER if not rules.require_flicker else min(max(seen.flicker or 0.0, 0.001), MAX_FLICKER)
    score = math.log(flicker / 0.04) + 6 * (seen.probability - 0.74)
    score += 0.2 * min(max(math.log(max(seen.share, 1e-9) / 0.001), -2.0), 3.0)  # a large region is rarely mistaken
    if rules.require_steady:
        score -= max(0.0, seen.area_variation - 0.3)
        score -= 2 * max(0.0, 0.5 - (1.0 if seen.overlap is None else seen.overlap))
    return score


def is_fire(seen: Evidence, rules: AlarmRules, *, infrared: bool = False) -> bool:
    """Return whether a track with this evidence is fire. `infrared` frames have no colour."""
    if seen.results < rules.on_results or seen.ratio < rules.on_results / rules.of_results:
        return False
    if seen.duration_s < rules.on_s:
        return False
    if rules.require_flicker and (seen.flicker is None or seen.flicker < MIN_FLICKER):
        return False
    if rules.require_colour and not infrared and seen.redness < MIN_REDNESS:
        return False
    return fire_score(seen, rules) >= rules.min_score


def confirm(tracks: Sequence[Track], t_s: float, rules: AlarmRules, *, infrared: bool = False) -> tuple[Track, ...]:
    """Return the tracks with those confirmed that are seen at `t_s` and are fire.

    A confirmed track that is no longer near its place is evaluated again, by its sightings since. If it is not fire, it
    is a candidate again as soon as it raises no alarm.
    """

    def judged(track: Track) -> Track:
        if track.seen_s != t_s or t_s - track.began_s < rules.on_s:
            return track  # most tracks, before their evidence is gathered
        if track.place and is_near(track.place, track.region):
            return replace(track, at_place_s=t_s)
        if is_fire(evidence(track, t_s, rules, track.at_place_s), rules, infrared=infrared):
            return replace(track, confirmed=True, place=track.region, at_place_s=t_s)
        is_over = track.confirmed and not track.zones
        return replace(track, confirmed=False, place=None) if is_over else track

    return tuple(map(judged, tracks))


def locate(
    tracks: Sequence[Track],
    t_s: float,
    zones: Mapping[str, Cells],
    rules: AlarmRules,
    quiet: frozenset[int] = frozenset(),
) -> tuple[Track, ...]:
    """Return the tracks with the zones whose alarm they raise: those in which they lay within the last `off_after_s`.

    A track away from its place enters no zone. Candidates and the `quiet` tracks, by id, raise no alarm.
    """

    def located(track: Track) -> Track:
        if not track.confirmed or track.id in quiet:
            return replace(track, zones={}) if track.zones else track
        before = {name: s for name, s in track.zones.items() if name in zones and t_s - s <= rules.off_after_s}
        now = zones_of(track.region, zones) if track.at_place_s == track.seen_s else ()
        return replace(track, zones=before | dict.fromkeys(now, track.seen_s))

    return tuple(map(located, tracks))


def raised_alarms(tracks: Sequence[Track], zones: Iterable[str]) -> dict[str, bool]:
    """Return whether the alarm of each zone is raised, by its name: whether one of the tracks raises it."""
    return {name: any(name in track.zones for track in tracks) for name in zones}


def zones_of(region: Region, zones: Mapping[str, Cells]) -> list[str]:
    """Return the names of the zones that a region lies in, by `MIN_PART`.

    A fire that spreads over many zones may lie in none of them by `MIN_PART`: it counts for the one with most of it.

    Args:
        zones: cells of the model grid, by name.
    """
    within = {name: region.within(cells) for name, cells in zones.items()}
    part = MIN_PART * region.area
    names = [
        name for name, cells in within.items() if cells and cells >= min(part, MIN_PART * cv2.countNonZero(zones[name]))
    ]
    if not names and sum(within.values()) >= part:
        return [max(within, key=within.__getitem__)]
    return names
