"""Tracks: the same fire in frame after frame keeps its id, and no region belongs to two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.regions import Region
from edge.detection.tracks import (
    FORGET_S,
    FORGET_UNSEARCHED_S,
    MAX_SIGHTINGS,
    MAX_TRACKS,
    Sighting,
    Track,
    area_variation,
    follow,
    match,
    shared_cells,
)
from tests.support.factories import region

STEP_S = 0.1

regions = st.builds(region, st.integers(0, 100), st.integers(0, 100), st.integers(2, 12), st.integers(2, 12))
scenes = st.lists(st.lists(regions, max_size=5), max_size=12)


class Follower:
    """Follows regions frame by frame, a tenth of a second apart."""

    def __init__(self) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.t_s = 0.0
        self.ids = itertools.count(1)

    def see(
        self,
        *regions: Region,
        after_s: float = STEP_S,
        is_visible: Callable[[Track], bool] = lambda _: True,
        keep_s: float = FORGET_S,
        measure: Callable[[Track, Region], float | None] = lambda *_: None,
        max_measured: int = MAX_TRACKS,
    ) -> tuple[Track, ...]:
        self.t_s += after_s
        self.tracks = follow(
            self.tracks,
            self.t_s,
            regions,
            next_id=lambda: next(self.ids),
            measure=measure,
            max_measured=max_measured,
            is_visible=is_visible,
            keep_s=keep_s,
        )
        return self.tracks


def test_a_region_that_stands_still_keeps_its_id_and_covers_its_place() -> None:
    follower = Follower()
    for _ in range(100):
        (track,) = follower.see(region())
    assert (track.id, track.began_s, track.seen_s) == (1, STEP_S, follower.t_s)
    assert track.sightings[-1].overlap == 1
    assert area_variation(track.sightings) == 0


@pytest.mark.parametrize(("step", "count"), [(1, 1), (2, 1), (40, 3)])
def test_a_region_that_moves_a_little_is_followed_and_one_that_jumps_is_another(step: int, count: int) -> None:
    follower = Follower()
    for number in range(3):
        tracks = follower.see(region(left=5 + step * number))
    assert len({track.id for track in tracks}) == count


def test_what_passes_shares_no_cell_with_its_place_of_a_second_ago() -> None:
    follower = Follower()
    for number in range(12):
        (track,) = follower.see(region(left=5 + 3 * number))
    assert track.id == 1
    assert track.sightings[-1].overlap == 0


def test_the_flicker_of_a_track_is_measured_with_its_region_in_the_frame() -> None:
    first = follow((), 0.0, [region()], next_id=lambda: 7)
    (track,) = follow(first, 0.2, [region(left=51)], next_id=lambda: 8, measure=lambda _, seen: seen.left / 100)
    assert [sighting.flicker for sighting in track.sightings] == [None, 0.51]


def test_a_track_that_is_missed_remembers_when_and_where_it_was_seen() -> None:
    follower = Follower()
    follower.see(region(left=20))
    (track,) = follower.see()
    assert (track.seen_s, track.region.left) == (STEP_S, 20)
    assert [sighting.region is None for sighting in track.sightings] == [False, True]


def test_a_frame_in_which_a_track_could_not_be_seen_does_not_count_as_missed() -> None:
    follower = Follower()
    follower.see(region())
    (track,) = follower.see(is_visible=lambda _: False)
    assert len(track.sightings) == 1


@pytest.mark.parametrize(("is_confirmed", "keep_s"), [(False, FORGET_S), (True, 4.0)])
def test_a_track_ends_after_its_time_unseen_and_a_later_region_gets_a_new_id(is_confirmed: bool, keep_s: float) -> None:
    follower = Follower()
    follower.see(region())
    follower.tracks = tuple(replace(track, confirmed=is_confirmed) for track in follower.tracks)
    assert follower.see(after_s=keep_s / 2, keep_s=4.0)
    assert follower.see(after_s=keep_s / 2 - 0.01, keep_s=4.0)
    assert follower.see(after_s=0.02, keep_s=4.0) == ()
    assert [track.id for track in follower.see(region())] == [2]


def test_a_fire_seen_again_within_its_time_is_the_same_track() -> None:
    follower = Follower()
    follower.see(region())
    assert [track.id for track in follower.see(region(), after_s=FORGET_S)] == [1]


def test_of_two_tracks_the_one_with_more_overlap_gets_the_region() -> None:
    follower = Follower()
    follower.see(region(left=40, width=10), region(left=56, width=10))
    tracks = {track.id: track for track in follower.see(region(left=54, width=10))}
    assert (tracks[1].seen_s, tracks[2].seen_s) == (STEP_S, follower.t_s)


def test_a_small_fire_beside_a_large_one_keeps_its_id_in_any_order() -> None:
    follower = Follower()
    large, small = region(left=10, top=10, width=30, height=30), region(left=60, top=20, width=4, height=4)
    follower.see(large, small)
    for order in ((small, large), (large, small), (small, large)):
        assert {track.id: track.region for track in follower.see(*order)} == {1: large, 2: small}


def test_confirmed_tracks_are_the_last_to_go_when_there_are_too_many() -> None:
    follower = Follower()
    follower.see(region(left=0, top=0, width=2, height=2))
    follower.tracks = tuple(replace(track, confirmed=True) for track in follower.tracks)
    crowd = [region(left=x, top=y, width=2, height=2) for y in range(16, 112, 12) for x in range(0, 112, 12)]
    assert len(crowd) > MAX_TRACKS
    tracks = follower.see(*crowd)
    assert len(tracks) == 1 + MAX_TRACKS
    assert tracks[0].confirmed


def test_at_one_frame_a_second_a_fire_may_be_missed_once() -> None:
    follower = Follower()
    follower.see(region())
    follower.see(after_s=1.0)
    assert [track.id for track in follower.see(region(), after_s=1.0)] == [1]


def test_a_track_that_only_tiles_show_waits_for_its_tile() -> None:
    follower = Follower()
    follower.see(region())
    assert follower.see(after_s=FORGET_UNSEARCHED_S, is_visible=lambda _: False)
    assert follower.see(after_s=0.1, is_visible=lambda _: False) == ()


def test_lamps_that_flash_do_not_keep_a_fire_from_being_measured() -> None:
    follower, measured = Follower(), []
    lamps = [region(left=x, top=0, width=4, height=4) for x in range(0, 112, 8)]

    def measure(track: Track, seen: Region) -> float:
        measured.append((follower.t_s, seen.top > 0))
        return 0.01 if seen.top == 0 else 0.2

    for number in range(20):
        flashing = lamps if number % 7 == 0 else []
        follower.see(*flashing, region(left=50, top=60), measure=measure, max_measured=3)
    assert sum(is_fire for _, is_fire in measured) >= 8  # of ten


@pytest.mark.parametrize(("fps", "times"), [(2, 4), (5, 10), (10, 10), (30, 12)])
def test_a_fast_camera_does_not_have_its_tracks_measured_more_often(fps: int, times: int) -> None:
    tracks: tuple[Track, ...] = ()
    measured: list[Region] = []

    def measure(_: Track, seen: Region) -> float:
        measured.append(seen)
        return 0.1

    for number in range(2 * fps + 1):
        tracks = follow(tracks, number / fps, [region()], next_id=lambda: 1, measure=measure)
    assert len(measured) == times


@given(scenes)
def test_no_region_belongs_to_two_tracks_and_none_is_left_out(scene: list[list[Region]]) -> None:
    follower = Follower()
    for seen in scene:
        matches = match(follower.tracks, seen)
        assert len({*matches.values()}) == len(matches)
        now = [track for track in follower.see(*seen) if track.seen_s == follower.t_s]
        assert sorted(id(track.region) for track in now) == sorted(map(id, seen))


@given(scenes)
def test_ids_are_unique_and_never_used_again_and_times_rise(scene: list[list[Region]]) -> None:
    follower, ended, last = Follower(), set[int](), set[int]()
    for seen in scene:
        tracks = follower.see(*seen, after_s=0.7)
        ids = {track.id for track in tracks}
        assert len(ids) == len(tracks)
        assert not ids & ended
        ended |= last - ids
        last = ids
        for track in tracks:
            times = [sighting.t_s for sighting in track.sightings]
            assert times == sorted({*times})
            assert track.began_s <= times[0] <= track.seen_s <= times[-1] <= follower.t_s


def as_seen(tracks: Sequence[Track]) -> list[tuple[object, ...]]:
    return sorted((track.began_s, track.seen_s, track.region.box, len(track.sightings)) for track in tracks)


@given(st.permutations([region(left=10 * n, top=5 * n, width=3 + n, height=4) for n in range(5)]))
def test_the_order_of_regions_does_not_matter(order: list[Region]) -> None:
    shuffled, sorted_ = Follower(), Follower()
    for _ in range(2):
        assert as_seen(shuffled.see(*order)) == as_seen(sorted_.see(*sorted(order, key=lambda region: region.left)))


def test_a_track_of_a_week_is_as_large_as_one_of_a_minute() -> None:
    follower = Follower()
    for _ in range(3 * MAX_SIGHTINGS):
        (track,) = follower.see(region())
    assert len(track.sightings) == MAX_SIGHTINGS
    assert track.began_s == STEP_S


@given(st.integers(1, 20), st.floats(0, 3), st.integers(1, 40))
def test_recent_sightings_are_the_last_few_or_those_of_the_last_seconds_if_they_are_more(
    count: int, seconds: float, length: int
) -> None:
    sightings = tuple(Sighting(n * STEP_S, region()) for n in range(length))
    track = Track(1, sightings, 0.0, sightings[-1].t_s, region(), measured_s=0.0)
    recent = track.recent(count, seconds, track.seen_s, 0.0)
    in_time = sum(track.seen_s - seconds <= sighting.t_s for sighting in sightings)
    assert recent == sightings[-max(count, in_time) :]
    assert track.recent(count, seconds, track.seen_s, track.seen_s + 1) == ()


@given(regions, regions)
def test_two_regions_share_as_many_cells_either_way_and_never_more_than_the_smaller_has(
    one: Region, two: Region
) -> None:
    assert shared_cells(one, two) == shared_cells(two, one) <= min(one.area, two.area)
    assert shared_cells(one, one) == one.area
