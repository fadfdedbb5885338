"""Zones: polygons in fractions of the frame, laid over the model's mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.zones import Polygon, Zone, ZoneMap, inside
from edge.errors import UserError
from edge.images import Mask
from edge.messages import WHOLE_FRAME

HEIGHT, WIDTH = 20, 30
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
EVERYTHING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))

fractions = st.floats(0, 1, allow_nan=False)
polygons = st.lists(st.tuples(fractions, fractions), min_size=3, max_size=8).map(tuple)
masks = st.binary(min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH).map(
    lambda data: (np.frombuffer(data, np.uint8) >= 128).reshape(HEIGHT, WIDTH)
)


def all_burning() -> Mask:
    return np.ones((HEIGHT, WIDTH), np.bool_)


def test_without_zones_the_whole_frame_is_one_zone() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:5] = True
    burning = ZoneMap([], [], HEIGHT, WIDTH).burning(mask)
    assert list(burning) == [WHOLE_FRAME]
    assert burning[WHOLE_FRAME].share == 0.25


def test_a_zone_sees_only_what_burns_inside_of_it_as_a_share_of_its_own_area() -> None:
    zones = ZoneMap([Zone("left", LEFT_HALF)], [], HEIGHT, WIDTH)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, WIDTH // 2 :] = True
    assert zones.burning(mask)["left"].share == 0
    mask[:, :3] = True
    assert zones.burning(mask)["left"].share == 3 / 15
    assert zones.fire_share(mask) == 18 / 30


def test_what_burns_in_an_ignored_area_burns_nowhere() -> None:
    zones = ZoneMap([Zone("all", EVERYTHING)], [LEFT_HALF], HEIGHT, WIDTH)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, : WIDTH // 2] = True
    assert zones.burning(mask)["all"].share == 0
    assert zones.fire_share(mask) == 0
    assert zones.burning(all_burning())["all"].share == 1


def test_a_zone_is_the_same_part_of_the_picture_at_any_grid() -> None:
    triangle = ((0.1, 0.9), (0.5, 0.1), (0.9, 0.9))
    for height, width in ((50, 50), (224, 224), (160, 320)):
        assert inside(triangle, height, width).mean() == pytest.approx(0.32, abs=0.01)


@given(x=fractions, polygon=polygons)
def test_a_cut_through_the_frame_gives_every_cell_to_exactly_one_side(x: float, polygon: tuple[object, ...]) -> None:
    left = inside(((0, 0), (x, 0), (x, 1), (0, 1)), HEIGHT, WIDTH)
    right = inside(((x, 0), (1, 0), (1, 1), (x, 1)), HEIGHT, WIDTH)
    assert not (left & right).any()
    assert (left | right).all()


@given(polygon=polygons, turn=st.integers(0, 7))
def test_neither_the_first_corner_nor_the_direction_of_a_polygon_matters(
    polygon: tuple[tuple[float, float], ...], turn: int
) -> None:
    turn %= len(polygon)
    cells = inside(polygon, HEIGHT, WIDTH)
    assert np.array_equal(cells, inside(polygon[turn:] + polygon[:turn], HEIGHT, WIDTH))
    assert np.array_equal(cells, inside(polygon[::-1], HEIGHT, WIDTH))


@given(mask=masks, more=masks, polygon=polygons, ignored=polygons)
def test_a_share_is_a_fraction_that_never_falls_when_more_burns(
    mask: Mask, more: Mask, polygon: tuple[tuple[float, float], ...], ignored: tuple[tuple[float, float], ...]
) -> None:
    try:
        zones = ZoneMap([Zone("yard", polygon)], [ignored], HEIGHT, WIDTH)
    except UserError:
        return  # nothing is left to watch
    less, larger = zones.burning(mask)["yard"], zones.burning(mask | more)["yard"]
    assert 0 <= less.share <= larger.share <= 1
    assert zones.burning(all_burning())["yard"].share == 1
    assert not (less.cells.astype(bool) & ~mask).any()


MISTAKES: dict[str, tuple[list[Zone], list[Polygon], str]] = {
    "two corners": ([Zone("door", ((0, 0), (1, 1)))], [], "zone 'door' has 2 corners"),
    "pixels for fractions": ([Zone("door", ((0, 0), (320, 0), (0, 240)))], [], "fractions of the frame"),
    "two of one name": ([Zone("a", LEFT_HALF), Zone("a", EVERYTHING)], [], "two zones are named 'a'"),
    "an ignored zone": ([Zone("a", LEFT_HALF)], [LEFT_HALF], "nothing of zone 'a' is left"),
    "everything ignored": ([], [EVERYTHING], "cover the whole frame"),
    "an ignored line": ([], [((0, 0), (1, 1))], "ignored area 1 has 2 corners"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_zone_that_cannot_be_watched_is_refused_by_name(mistake: str) -> None:
    zones, ignored, told = MISTAKES[mistake]
    with pytest.raises(UserError, match=told):
        ZoneMap(zones, ignored, HEIGHT, WIDTH)
