"""The views of a frame: tiles that cover it, and one map from all of them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detection.views import OVERLAP, WHOLE, View, crop, merge, tile_input, tile_side, tiles_of, useful_zoom
from edge.images import Map
from edge.model.preprocess import to_model_input

GRID = (56, 64)
HD = (720, 1280, 3)

zooms = st.sampled_from([2, 3])
fractions = st.floats(0, 1)


@given(zooms, fractions, fractions)
def test_a_flame_of_a_fifth_of_a_tile_is_whole_in_some_tile(zoom: int, x: float, y: float) -> None:
    size = OVERLAP * tile_side(zoom) - 1e-9
    left, top = x * (1 - size), y * (1 - size)
    assert any(
        tile.left <= left and left + size <= tile.right and tile.top <= top and top + size <= tile.bottom
        for tile in tiles_of(zoom)
    )


@pytest.mark.parametrize(("zoom", "side"), [(1, 1.0), (2, 0.556), (3, 0.385)])
def test_the_tiles_of_a_zoom_have_one_size_and_end_at_the_frames_edges(zoom: int, side: float) -> None:
    tiles = tiles_of(zoom)
    assert len(tiles) == zoom * zoom
    assert all(tile.right - tile.left == pytest.approx(side, abs=1e-3) for tile in tiles)
    assert tiles[0][:2] == (0, 0)
    assert tiles[-1][2:] == (1, 1)
    assert zoom > 1 or tiles == (WHOLE,)


@pytest.mark.parametrize(
    ("frame", "zoom"), [((240, 320), 2), ((360, 640), 2), ((480, 640), 2), ((720, 1280), 3), ((2160, 3840), 3)]
)
def test_auto_takes_the_largest_zoom_whose_tiles_have_enough_pixels(frame: tuple[int, int], zoom: int) -> None:
    assert useful_zoom(frame, (224, 224)) == zoom


def test_a_crop_shares_the_memory_of_its_frame() -> None:
    rgb = np.zeros(HD, np.uint8)
    part = crop(rgb, tiles_of(2)[3])
    part[:] = 7
    assert part.shape == (400, 711, 3)
    assert rgb[-1, -1, 0] == 7
    assert rgb[0, 0, 0] == 0
    assert crop(rgb, WHOLE).shape == HD


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (1080, 1920), (400, 2000), (300, 300)])
@pytest.mark.parametrize("zoom", [2, 3])
def test_a_tile_has_the_model_input_of_its_crop(size: tuple[int, int], zoom: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    rgb = cv2.GaussianBlur(noise, (0, 0), 1.5).astype(np.uint8, copy=False)
    for tile in tiles_of(zoom)[:2]:
        expected = to_model_input(crop(rgb, tile), 224, 224).astype(int)
        error = to_model_input(tile_input(rgb, tile, (224, 224)), 224, 224) - expected
        assert np.abs(error).max() <= 3
        assert np.abs(error).mean() < 0.6


@given(st.integers(0, 399), st.integers(0, 710))
def test_a_flame_of_one_pixel_is_visible_in_the_input_of_its_tile(row: int, column: int) -> None:
    rgb = np.zeros(HD, np.uint8)
    rgb[row, column] = 255
    # The least: 26 of 255 remain across, where a pixel lies between two samples, and 71 down; 7 together, and rounding.
    assert to_model_input(tile_input(rgb, tiles_of(2)[0], (224, 224)), 224, 224).max() >= 6


@given(st.integers(0, 2**32 - 1))
def test_merging_the_whole_frame_alone_is_the_identity(seed: int) -> None:
    whole = np.random.default_rng(seed).integers(0, 256, GRID, np.uint8)
    merged, fine = merge(GRID, [(WHOLE, whole)])
    assert np.array_equal(merged, whole)
    assert merged is not whole
    assert not fine.any()


@given(zooms, st.data())
def test_a_pixel_of_a_tile_sets_the_one_cell_that_holds_its_centre(zoom: int, data: st.DataObject) -> None:
    tile = data.draw(st.sampled_from(tiles_of(zoom)))
    row, column = data.draw(st.integers(0, GRID[0] - 1)), data.draw(st.integers(0, GRID[1] - 1))
    fire: Map = np.zeros(GRID, np.uint8)
    fire[row, column] = 200
    merged, _ = merge(GRID, [(WHOLE, np.zeros(GRID, np.uint8)), (tile, fire)])
    y = tile.top + (row + 0.5) / GRID[0] * (tile.bottom - tile.top)
    x = tile.left + (column + 0.5) / GRID[1] * (tile.right - tile.left)
    ((cell_row, cell_column),) = np.argwhere(merged)
    assert merged[cell_row, cell_column] == 200
    assert abs(cell_row + 0.5 - y * GRID[0]) <= 0.5 + 1e-6
    assert abs(cell_column + 0.5 - x * GRID[1]) <= 0.5 + 1e-6


@given(zooms)
def test_tiles_fill_every_cell_and_each_cell_takes_the_largest(zoom: int) -> None:
    values = [10 * (index + 1) for index in range(zoom * zoom)]
    seen = [(tile, np.full(GRID, value, np.uint8)) for tile, value in zip(tiles_of(zoom), values, strict=True)]
    merged, fine = merge(GRID, [(WHOLE, np.full(GRID, 15, np.uint8)), *seen])
    assert fine.all()
    assert merged.min() == 15
    assert merged[0, 0] == 15
    assert merged[-1, -1] == values[-1]
    assert np.array_equal(merged, merge(GRID, [*reversed(seen), (WHOLE, np.full(GRID, 15, np.uint8))])[0])


def test_only_cells_whose_centre_lies_in_a_tile_count_as_seen_in_fine() -> None:
    _, fine = merge(GRID, [(tiles_of(2)[3], np.zeros(GRID, np.uint8))])
    rows, columns = np.argwhere(fine).min(axis=0)
    assert (rows + 0.5) / GRID[0] >= 0.444
    assert (rows - 0.5) / GRID[0] < 0.4445
    assert (columns + 0.5) / GRID[1] >= 0.444
    assert fine[rows:, columns:].all()


def test_a_model_that_overwrites_its_map_may_yield_it_for_each_view() -> None:
    shared = np.zeros(GRID, np.uint8)

    def maps() -> Iterator[tuple[View, Map]]:
        for value, view in ((10, WHOLE), (50, tiles_of(2)[0])):
            shared[:] = value
            yield view, shared

    merged, _ = merge(GRID, maps())
    assert merged[0, 0] == 50
    assert merged[-1, -1] == 10
