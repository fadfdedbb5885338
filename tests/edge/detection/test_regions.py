"""Regions: connected fire cells, joined across small gaps, in the same place on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.alarm import MIN_REDNESS
from edge.detection.regions import MAX_REGIONS, MIN_CELLS, find_regions
from edge.detection.zones import Cells
from edge.images import Map

SIZE = 32
SCALES = st.sampled_from([2, 3, 7])

fires = st.binary(min_size=SIZE * SIZE // 8, max_size=SIZE * SIZE // 8).map(
    lambda data: np.unpackbits(np.frombuffer(data, np.uint8)).reshape(SIZE, SIZE)
)
places = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(1, 9), st.integers(1, 9))
rectangles = st.lists(places, max_size=6).map(lambda boxes: drawn(*boxes))


def drawn(*boxes: tuple[int, int, int, int]) -> Cells:
    """Fire in rectangles of (left, top, width, height)."""
    fire = np.zeros((SIZE, SIZE), np.uint8)
    for left, top, width, height in boxes:
        fire[top : top + height, left : left + width] = 1
    return fire


def even(fire: Cells, level: int = 230) -> Map:
    return (fire * level).astype(np.uint8)


def test_without_fire_there_is_no_region() -> None:
    assert find_regions(np.full((SIZE, SIZE), 255, np.uint8), drawn()) == []


def test_a_region_has_the_box_the_area_and_the_mean_probability_of_its_cells() -> None:
    fire = drawn((4, 8, 6, 2))
    probability = np.full((SIZE, SIZE), 128, np.uint8)
    probability[8], probability[9] = 192, 224
    (region,) = find_regions(probability, fire)
    assert region.box == (4 / SIZE, 8 / SIZE, 10 / SIZE, 10 / SIZE)
    assert (region.area, region.share) == (12, 12 / SIZE**2)
    assert region.probability == pytest.approx(208 / 256)
    assert region.centre == (9, 7)


def test_its_redness_is_that_of_its_reddest_cell() -> None:
    rgb = np.full((SIZE, SIZE, 3), (90, 90, 90), np.uint8)
    rgb[5, 5], rgb[20, 20] = (250, 120, 30), (255, 0, 0)
    (region,) = find_regions(even(drawn((4, 4, 4, 4))), drawn((4, 4, 4, 4)), rgb=rgb)
    assert region.redness == 220


def test_tongues_of_a_flame_that_come_apart_are_one_region_and_distant_ones_are_two() -> None:
    for gap, count in ((1, 1), (2, 1), (3, 2)):
        fire = drawn((4, 4, 4, 8), (8 + gap, 4, 4, 8))
        assert [region.area for region in find_regions(even(fire), fire)] == {1: [64], 2: [32, 32]}[count]


def test_joining_does_not_add_cells() -> None:
    fire = drawn((4, 4, 4, 8), (10, 4, 4, 8))
    (region,) = find_regions(even(fire), fire)
    assert (region.right - region.left, region.bottom - region.top) == (10, 8)
    assert not region.cells[:, 4:6].any()


def test_specks_are_dropped_and_of_many_regions_the_largest_are_kept() -> None:
    specks = drawn(*((x, y, 1, MIN_CELLS - 1) for x in range(0, SIZE, 5) for y in range(0, SIZE, 6)))
    assert find_regions(even(specks), specks) == []
    many = drawn(*((x, y, 1, MIN_CELLS) for x in range(0, SIZE, 4) for y in range(0, SIZE, 7)), (8, 3, 1, 1))
    regions = find_regions(even(many), many)
    assert len(regions) == MAX_REGIONS
    assert [region.area for region in regions[:2]] == [MIN_CELLS + 1, MIN_CELLS]


def test_a_region_that_only_a_tile_shows_is_told_from_one_that_the_whole_frame_shows() -> None:
    fire = drawn((2, 2, 5, 5), (20, 20, 6, 6))
    whole = even(drawn((20, 20, 6, 6)), 200)
    assert [region.needs_tile for region in find_regions(even(fire), fire, whole=whole)] == [False, True]


@given(fires)
def test_no_cell_is_counted_twice_or_invented(fire: Cells) -> None:
    rebuilt = np.zeros_like(fire)
    for region in find_regions(even(fire), fire):
        assert region.area == region.cells.sum() >= MIN_CELLS
        edges = region.cells[0], region.cells[-1], region.cells[:, 0], region.cells[:, -1]
        assert all(edge.any() for edge in edges)
        rebuilt[region.top : region.bottom, region.left : region.right] += region.cells
    assert (rebuilt <= fire).all()


@given(rectangles)
def test_the_areas_add_up_to_the_fire_cells_less_those_of_specks(fire: Cells) -> None:
    regions = find_regions(even(fire), fire)
    missing = int(fire.sum()) - sum(region.area for region in regions)
    assert 0 <= missing <= 6 * (MIN_CELLS - 1)
    assert [region.area for region in regions] == sorted((region.area for region in regions), reverse=True)


@given(rectangles, st.integers(0, 20), st.integers(0, 20))
def test_moving_the_fire_moves_its_regions_and_changes_nothing_else(fire: Cells, right: int, down: int) -> None:
    frames = [np.zeros((64, 64), np.uint8) for _ in range(2)]
    frames[0][2 : 2 + SIZE, 2 : 2 + SIZE] = fire
    frames[1][2 + down : 2 + down + SIZE, 2 + right : 2 + right + SIZE] = fire
    before, after = (find_regions(even(frame), frame) for frame in frames)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert (new.left, new.top) == (old.left + right, old.top + down)
        assert np.array_equal(new.cells, old.cells)
        assert (new.area, new.probability) == (old.area, old.probability)


@given(rectangles, SCALES)
def test_a_region_keeps_its_place_and_share_on_a_finer_grid(fire: Cells, scale: int) -> None:
    for region in find_regions(even(fire), fire):
        finer = region.on_grid((SIZE * scale, SIZE * scale))
        assert finer.box == pytest.approx(region.box)
        assert finer.share == pytest.approx(region.share)
        assert finer.on_grid(region.grid).box == pytest.approx(region.box)


@given(rectangles, st.integers(9, 80), st.integers(9, 80))
def test_on_any_grid_a_region_stays_within_its_place_to_a_cell(fire: Cells, height: int, width: int) -> None:
    for region in find_regions(even(fire), fire):
        other = region.on_grid((height, width))
        if other.area:  # thin parts vanish on a coarse grid
            left, top, right, bottom = region.box
            assert left - 1 / width <= other.box[0] < other.box[2] <= right + 1 / width
            assert top - 1 / height <= other.box[1] < other.box[3] <= bottom + 1 / height


@given(rectangles, rectangles)
def test_a_region_lies_within_a_zone_by_the_cells_they_share(fire: Cells, zone: Cells) -> None:
    regions = find_regions(even(fire), fire)
    everywhere = np.ones((SIZE, SIZE), np.uint8)
    for region in regions:
        assert region.within(everywhere) == region.area
        assert region.within(zone) + region.within(1 - zone) == region.area


@pytest.mark.parametrize(
    ("light", "background", "is_reddish"),
    [
        ((250, 200, 190), (60, 60, 60), True),  # a pale flame
        ((205, 200, 200), (60, 120, 220), True),  # the light of a flame before a blue sky
        ((250, 250, 248), (90, 90, 92), False),  # a white lamp on grey
        ((250, 250, 250), (140, 90, 60), False),  # a white lamp on wood
    ],
)
def test_light_is_reddish_compared_with_a_blue_background(
    light: tuple[int, ...], background: tuple[int, ...], is_reddish: bool
) -> None:
    fire = np.zeros((112, 112), np.uint8)
    fire[40:50, 60:66] = 1
    rgb = np.where(fire[..., None] > 0, np.array(light), np.array(background)).astype(np.uint8)
    (region,) = find_regions(even(fire), fire, rgb=rgb)
    assert (region.redness >= MIN_REDNESS) == is_reddish
