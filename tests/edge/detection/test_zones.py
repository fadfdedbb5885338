"""Zones: polygons in fractions of the frame, on the mask of the model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.zones import Polygon, Zone, ZoneMap, cells_inside
from edge.errors import UserError
from edge.images import Mask
from edge.messages import WHOLE_FRAME

HEIGHT, WIDTH = 20, 30
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
FULL_FRAME = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
FIRE_EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)

fractions = st.floats(0, 1, allow_nan=False)
polygons = st.lists(st.tuples(fractions, fractions), min_size=3, max_size=8).map(tuple)
masks = st.binary(min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH).map(
    lambda data: (np.frombuffer(data, np.uint8) >= 128).reshape(HEIGHT, WIDTH)
)


def test_without_zones_the_whole_frame_is_one_zone() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:5] = True
    assert ZoneMap([], [], HEIGHT, WIDTH).shares(mask) == {WHOLE_FRAME: 0.25}


def test_the_share_of_a_zone_counts_its_own_cells_only() -> None:
    zones = ZoneMap([Zone("left", LEFT_HALF)], [], HEIGHT, WIDTH)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, WIDTH // 2 :] = True
    assert zones.shares(mask)["left"] == 0
    mask[:, :3] = True
    assert zones.shares(mask)["left"] == 3 / 15
    assert zones.fire_share(mask) == 18 / 30


def test_fire_in_an_ignored_area_counts_nowhere() -> None:
    zones = ZoneMap([Zone("all", FULL_FRAME)], [LEFT_HALF], HEIGHT, WIDTH)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, : WIDTH // 2] = True
    assert zones.shares(mask)["all"] == 0
    assert zones.fire_share(mask) == 0
    assert zones.shares(FIRE_EVERYWHERE)["all"] == 1


def test_a_zone_covers_the_same_part_of_the_frame_on_any_grid() -> None:
    triangle = ((0.1, 0.9), (0.5, 0.1), (0.9, 0.9))
    for height, width in ((50, 50), (224, 224), (160, 320)):
        assert cells_inside(triangle, height, width).mean() == pytest.approx(0.32, abs=0.01)


@given(x=fractions)
def test_two_zones_that_share_an_edge_split_the_cells_between_them(x: float) -> None:
    left = cells_inside(((0, 0), (x, 0), (x, 1), (0, 1)), HEIGHT, WIDTH)
    right = cells_inside(((x, 0), (1, 0), (1, 1), (x, 1)), HEIGHT, WIDTH)
    assert not (left & right).any()
    assert (left | right).all()


@given(polygon=polygons, turn=st.integers(0, 7))
def test_first_corner_and_direction_of_a_polygon_do_not_matter(
    polygon: tuple[tuple[float, float], ...], turn: int
) -> None:
    turn %= len(polygon)
    cells = cells_inside(polygon, HEIGHT, WIDTH)
    assert np.array_equal(cells, cells_inside(polygon[turn:] + polygon[:turn], HEIGHT, WIDTH))
    assert np.array_equal(cells, cells_inside(polygon[::-1], HEIGHT, WIDTH))


@given(mask=masks, more=masks, polygon=polygons, ignored=polygons)
def test_a_share_is_a_fraction_that_grows_with_the_mask(
    mask: Mask, more: Mask, polygon: tuple[tuple[float, float], ...], ignored: tuple[tuple[float, float], ...]
) -> None:
    try:
        zones = ZoneMap([Zone("yard", polygon)], [ignored], HEIGHT, WIDTH)
    except UserError:
        return  # no cell is left
    less, larger = zones.shares(mask)["yard"], zones.shares(mask | more)["yard"]
    assert 0 <= less <= larger <= 1
    assert zones.shares(FIRE_EVERYWHERE)["yard"] == 1


MISTAKES: dict[str, tuple[list[Zone], list[Polygon], str]] = {
    "two corners": ([Zone("door", ((0, 0), (1, 1)))], [], "zone 'door' has 2 corners"),
    "pixels for fractions": ([Zone("door", ((0, 0), (320, 0), (0, 240)))], [], "fractions of the frame"),
    "two of one name": ([Zone("a", LEFT_HALF), Zone("a", FULL_FRAME)], [], "two zones are named 'a'"),
    "an ignored zone": ([Zone("a", LEFT_HALF)], [LEFT_HALF], "zone 'a' covers no cell"),
    "everything ignored": ([], [FULL_FRAME], "cover the whole frame"),
    "an ignored line": ([], [((0, 0), (1, 1))], "ignored area 1 has 2 corners"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_invalid_zone_is_refused_by_name(mistake: str) -> None:
    zones, ignored, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        ZoneMap(zones, ignored, HEIGHT, WIDTH)
