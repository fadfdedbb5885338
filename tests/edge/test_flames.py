"""A painted flame: in its box, before any wall; and the word that marks a frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge.flames import PaintedFlame, box_around, labelled, lay, resized

FLAME = PaintedFlame()


def test_the_flame_lies_in_its_box_at_every_size_and_place() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    for centre, height in itertools.product(((0.5, 0.5), (0.02, 0.97), (1.0, 0.0)), (14, 60)):
        lit = np.flatnonzero(lay(black, resized(FLAME.at(1.0), height), centre).any(axis=(0, 2))) / 320
        left, _, right, _ = box_around(centre, PaintedFlame.ASPECT * height / 320, height / 240)
        assert left - 0.01 <= lit.min() < lit.max() <= right + 0.01


@pytest.mark.parametrize("size", [(4, 6), (48, 64), (720, 1280)])
def test_the_word_drill_is_written_into_a_copy(size: tuple[int, int]) -> None:
    grey = np.full((*size, 3), 90, np.uint8)
    assert (labelled(grey) != 90).any() and (grey == 90).all()


def test_soot_makes_a_flame_visible_before_a_white_wall() -> None:
    white, flame = np.full((240, 320, 3), 250, np.uint8), resized(FLAME.at(1.0), 60)
    assert lay(white, flame, (0.5, 0.5)).min() >= 250
    assert lay(white, flame, (0.5, 0.5), soot=0.85)[..., 2].min() < 120
