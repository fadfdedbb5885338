"""Quiet places: after an alarm that was not a fire, the same look at the same place raises no alarm for a time.

The time grows with each repetition. A place never covers more than the region did, and a region that grows to more than
twice its size, reaches out of it or looks different raises an alarm. See `edge.detection.place`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from edge.detection.place import Place, PlaceRecorder, last_regions, place_from_json
from edge.detection.regions import Region
from edge.detection.tracks import Track
from edge.errors import UserError, one_line
from edge.messages import END, START, Event, FireEvent
from edge.run_status import QuietPlaceStatus

log = logging.getLogger(__name__)

HOURS = (1, 4, 16, 64, 168)
"""How long a place stays quiet, by the number of times that it was not a fire."""
KEEP = timedelta(days=7)
"""A place is kept this long after its quiet time, so that the next one is longer."""
MAX_FIRES = MAX_PLACES = 50
MAX_SAVED_LETTERS = 250_000  # of each of the two lists
LOG_INTERVAL_S = 600.0  # a place is logged again after this long without use
MAX_GAP_S = 10.0  # between two results that count as continuous
FIRES, PLACES = "fire_places", "quiet_places"
Value = TypeVar("Value")


class Storage(Protocol):
    """Values by key, as `SavedState` keeps them."""

    def get(self, key: str, default: Any = None, /) -> Any: ...

    def __setitem__(self, key: str, value: Any, /) -> None: ...


@dataclass(frozen=True)
class QuietPlace:
    """A place and for how long it is quiet."""

    place: Place
    repeats: int
    """How often it was not a fire."""
    hours: float
    """For how long it was made quiet."""
    until: datetime
    until_s: float
    """The same on the monotonic clock."""

    def status(self) -> QuietPlaceStatus:
        return QuietPlaceStatus(
            self.place.id, self.place.zone, self.place.polygons(), self.place.share, self.repeats,
            self.until.isoformat(timespec="seconds"),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "repeats": self.repeats, "hours": self.hours, "until": self.until.isoformat(timespec="seconds"),
            **self.place.as_json(),
        }  # fmt: skip


class PlaceMemory:
    """The quiet places of a run, and the places of its last fires.

    The quiet time ends by the monotonic or the wall clock, whichever is first: a clock that steps cannot prolong it.

    Args:
        saved: keeps them for the next run.
        now: the wall clock.

    Example:
        >>> memory = PlaceMemory(SavedState(path), now=events.now)
        >>> memory.remember("20261122T224100Z-stove-3f9a")  # not a fire
        >>> loud = [track for track in tracks if track.id not in memory.quiet(tracks, t_s)]
    """

    def __init__(
        self,
        saved: Storage | None = None,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._saved: Storage = {} if saved is None else saved
        self._now, self._clock = now, clock
        self._recorders: dict[str, PlaceRecorder] = {}
        self._fires: dict[str, Place] = {place.id: place for place in read_saved(self._saved, FIRES, place_from_json)}
        self._places = {each.place.id: each for each in read_saved(self._saved, PLACES, self._restored)}
        self._on_grid: dict[str, Place] = {}
        self._statuses = {each.place.id: each.status() for each in self._places.values()}
        self._used_s: dict[str, float] = {}
        self._seen_s: float | None = None  # time of the last result with a quiet track
        self._differed_s: dict[int, float] = {}  # when a track last differed from all places, by its id
        self.quiet_s = 0.0
        """Seconds in which a quiet place kept an alarm from being raised, since the run began."""

    def statuses(self) -> tuple[QuietPlaceStatus, ...]:
        """Return the places that are quiet now."""
        return tuple(self._statuses[each.place.id] for each in self._active())

    def remember(self, fire_id: str) -> QuietPlaceStatus:
        """Make the place of a fire quiet. Raises `UserError` if it is not known, or too large to be saved."""
        recorder = self._recorders.get(fire_id)
        place = (recorder.place() if recorder else None) or self._fires.get(fire_id)
        if place is None:
            remedy = f"expected the id of one of the last {MAX_FIRES} fires"
            raise UserError(f"the place of fire {one_line(fire_id)!r} is not known", remedy)
        now = self._now()
        known = [each for each in self._places.values() if now < each.until + KEEP]
        again = [each for each in known if each.place.is_again(place)]
        # Pressing the button twice is one repetition.
        repeats = max((each.repeats + (each.place.id != fire_id) for each in again), default=1)
        for each in again:
            place = place.joined(each.place)
        hours = HOURS[min(repeats, len(HOURS)) - 1]
        new = QuietPlace(place, repeats, hours, now + timedelta(hours=hours), self._clock() + 3600 * hours)
        self._keep([each for each in known if each not in again], new)
        self._differed_s = {}
        return self._statuses[fire_id]

    def forget(self, fire_id: str) -> None:
        """Remove a quiet place. Raises `UserError` if there is none."""
        if fire_id not in self._places:
            raise UserError(f"there is no quiet place {one_line(fire_id)!r}", "it may have expired: reload the page")
        self._keep([each for each in self._places.values() if each.place.id != fire_id])

    def quiet(self, tracks: Sequence[Track], t_s: float, off_after_s: float = 0.0) -> frozenset[int]:
        """Return the ids of the confirmed tracks that raise no alarm at the time of a result.

        A track that differed from all places is quiet only after `off_after_s` in which it did not, or at once when a
        place has been added since.
        """
        confirmed = [track for track in tracks if track.confirmed] if self._places else []
        active = [self._place_on(confirmed[0].region.grid, each) for each in self._active()] if confirmed else []
        quiet: set[int] = set()
        differed_s, self._differed_s = self._differed_s, {}
        for track in confirmed:
            regions = last_regions(track)
            place = next((place for place in active if place.is_of(regions)), None)
            self._differed_s[track.id] = last_s = differed_s.get(track.id, -math.inf) if place else t_s
            if place and t_s - last_s >= off_after_s:
                quiet.add(track.id)
                self._log(place, t_s)
        if quiet and self._seen_s is not None and 0 <= t_s - self._seen_s <= MAX_GAP_S:
            self.quiet_s += t_s - self._seen_s
        self._seen_s = t_s if quiet else None
        return frozenset(quiet)

    def observe(self, tracks: Sequence[Track], t_s: float, events: Sequence[Event]) -> None:
        """Record the places of fires in progress, and keep those of the last fires.

        Args:
            tracks: those that are not a drill's.
            events: of the result at `t_s`.
        """
        for event in events:
            if isinstance(event, FireEvent) and event.kind == START and not event.drill:
                self._recorders[event.id] = PlaceRecorder(event.id, event.zone)
        if not self._recorders:
            return
        regions: dict[str, list[Region]] = {}
        for track in tracks:
            if track.seen_s == t_s:
                for zone in track.zones:
                    regions.setdefault(zone, []).append(track.region)
        for recorder in self._recorders.values():
            if here := regions.get(recorder.zone):
                recorder.add(here)
        changed = [event for event in events if isinstance(event, FireEvent) and event.id in self._recorders]
        for event in changed:
            if event.kind != START and (place := self._recorders[event.id].place()):
                self._fires.pop(event.id, None)  # moves it to the end
                self._fires[event.id] = place
            if event.kind == END:
                del self._recorders[event.id]
        if changed:
            texts = [place.as_json() for place in self._fires.values()][-MAX_FIRES:]
            self._saved[FIRES] = kept = _fitting(texts)
            self._fires = {each["id"]: self._fires[each["id"]] for each in kept}

    def _active(self) -> list[QuietPlace]:
        now, now_s = self._now(), self._clock()
        return [each for each in self._places.values() if now < each.until and now_s < each.until_s]

    def _place_on(self, grid: tuple[int, int], quiet: QuietPlace) -> Place:
        place = self._on_grid.get(quiet.place.id)
        if place is None or place.spots[0].region.grid != grid:
            place = self._on_grid[quiet.place.id] = quiet.place.on_grid(grid)
        return place

    def _keep(self, places: list[QuietPlace], *new: QuietPlace) -> None:
        """Replace the places; if there are too many, those that end first go, but never a new one."""
        places = [*sorted(places, key=lambda each: each.until), *new][-MAX_PLACES:]
        kept = _fitting([each.as_json() for each in places])
        if new and not kept:
            problem = f"the place of fire {one_line(new[-1].place.id)!r} is too large to be saved"
            raise UserError(problem, "add an ignored area instead")
        self._saved[PLACES] = kept
        self._places = {each.place.id: each for each in places[len(places) - len(kept) :]}
        self._statuses = {each.place.id: each.status() for each in self._places.values()}
        self._on_grid = {}
        self._used_s = {id_: used_s for id_, used_s in self._used_s.items() if id_ in self._places}

    def _restored(self, saved: Mapping[str, Any]) -> QuietPlace:
        """Return a saved place. What remains of its time is at most what was chosen, whatever the wall clock says."""
        until, hours = datetime.fromisoformat(saved["until"]).astimezone(UTC), float(saved["hours"])
        if not 0 < hours <= HOURS[-1]:
            raise ValueError("the time of a place is not possible")
        now = self._now()
        until = min(until, now + timedelta(hours=hours))
        until_s = self._clock() + (until - now).total_seconds()
        return QuietPlace(place_from_json(saved), max(1, int(saved["repeats"])), hours, until, until_s)

    def _log(self, place: Place, t_s: float) -> None:
        """Log that a place raises no alarm, when it begins to."""
        used_s = self._used_s.get(place.id)
        if used_s is None or not 0 <= t_s - used_s <= LOG_INTERVAL_S:
            until = self._statuses[place.id].expires
            log.info("no alarm at a quiet place in %s until %s: %s was not a fire", place.zone, until, place.id)
        self._used_s[place.id] = t_s


def _fitting(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last values that fit into the file."""
    letters, kept = 0, []
    for value in reversed(values):
        letters += sum(len(spot["cells"]) for spot in value["spots"])
        if letters > MAX_SAVED_LETTERS:
            break
        kept.append(value)
    return kept[::-1]


def read_saved(saved: Storage, key: str, parse: Callable[[Any], Value]) -> list[Value]:
    """Return saved values; damaged ones are logged and left out."""
    values, damaged = [], 0
    entries = saved.get(key, [])
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            values.append(parse(entry))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            damaged += 1
    if damaged:
        log.error("%d of the saved %s are damaged and ignored", damaged, key.replace("_", " "))
    return values
