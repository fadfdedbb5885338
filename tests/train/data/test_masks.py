"""Reading masks of all kinds in use, and turning them as their images are turned."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edge.errors import UserError
from edge.images import read_rgb, upright
from train.data.fireseg import Pair
from train.data.masks import read_mask

HEIGHT, WIDTH = 12, 16
FIRE = np.zeros((HEIGHT, WIDTH), np.bool_)
FIRE[2:5, 3:7] = True
EMPTY = np.zeros_like(FIRE)
WHITE, BLACK, RED, BLUE = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)

Colour = tuple[int, int, int]


def painted(fire: npt.NDArray[np.bool_], colour: Colour, background: Colour) -> npt.NDArray[np.uint8]:
    return np.where(fire[:, :, None], np.array(colour, np.uint8), np.array(background, np.uint8))


def with_alpha(rgb: npt.NDArray[np.uint8], opaque: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.dstack([rgb, opaque.astype(np.uint8) * 255])


def silently_read(path: Path) -> npt.NDArray[np.bool_]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_mask(path)


@pytest.mark.parametrize("fire", [FIRE, EMPTY], ids=["fire", "empty"])
@pytest.mark.parametrize("colour", [WHITE, BLACK, RED])
def test_alpha_is_the_mask_where_the_colours_are_one(
    tmp_path: Path, fire: npt.NDArray[np.bool_], colour: Colour
) -> None:
    Image.fromarray(with_alpha(painted(fire, colour, colour), fire)).save(tmp_path / "mask.png")
    assert (silently_read(tmp_path / "mask.png") == fire).all()


def test_transparent_pixels_are_background_and_a_transparent_mask_counts_by_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    half = np.arange(WIDTH)[None] < 5
    Image.fromarray(with_alpha(painted(FIRE, WHITE, BLACK), np.broadcast_to(half, FIRE.shape))).save(path)
    assert (silently_read(path) == (FIRE & half)).all()
    Image.fromarray(with_alpha(painted(FIRE, RED, WHITE), FIRE)).save(path)
    assert (silently_read(path) == FIRE).all()
    Image.fromarray(with_alpha(painted(FIRE, WHITE, BLACK), EMPTY)).save(path)
    assert (silently_read(path) == FIRE).all()


@pytest.mark.parametrize("fire", [FIRE, EMPTY], ids=["fire", "empty"])
def test_entry_0_of_a_palette_of_white_and_a_colour_is_the_background(
    tmp_path: Path, fire: npt.NDArray[np.bool_]
) -> None:
    mask = Image.fromarray(fire.astype(np.uint8))
    mask.putpalette([*WHITE, *RED, *BLACK])
    mask.save(tmp_path / "mask.png")
    assert (silently_read(tmp_path / "mask.png") == fire).all()


@pytest.mark.parametrize(
    ("palette", "expected"), [((BLACK, WHITE), FIRE), ((BLACK, RED), FIRE), ((WHITE, BLACK), ~FIRE)]
)
def test_other_palettes_are_read_by_their_colours(
    tmp_path: Path, palette: tuple[Colour, Colour], expected: npt.NDArray[np.bool_]
) -> None:
    mask = Image.fromarray(FIRE.astype(np.uint8))
    mask.putpalette([*palette[0], *palette[1]])
    mask.save(tmp_path / "mask.png")
    assert (silently_read(tmp_path / "mask.png") == expected).all()


def test_fire_in_one_colour_on_white_is_fire_but_two_colours_on_white_are_not_sure(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for colour in (RED, BLUE, (10, 20, 30)):
        Image.fromarray(painted(FIRE, colour, WHITE)).save(path)
        assert (silently_read(path) == FIRE).all()
    two = painted(FIRE, RED, WHITE)
    two[0, 0] = BLUE
    Image.fromarray(two).save(path)
    assert silently_read(path).all()
    Image.fromarray(painted(FIRE, BLACK, WHITE)).save(path)
    assert (silently_read(path) == ~FIRE).all(), "black and white keep their meaning"


def save_turned(path: Path, stored: npt.NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif, quality=95)


def pair_with(
    root: Path, of_image: int, of_mask: int, *, fire: npt.NDArray[np.bool_] = FIRE, is_upright: bool = False
) -> Pair:
    """Write a stored image, white where it shows fire, and its mask: of the stored pixels, or of the upright image."""
    pair = Pair("a", root / "a.jpg", root / "a.png", "all", "a")
    assert pair.mask is not None
    save_turned(pair.image, np.kron(painted(fire, WHITE, BLACK), np.ones((8, 8, 1), np.uint8)), of_image)
    mask = upright(fire, of_image) if is_upright else fire
    save_turned(pair.mask, np.kron(mask, np.ones((8, 8))).astype(np.uint8) * 255, of_mask)
    return pair


def assert_aligned(pair: Pair) -> None:
    frame, mask = pair.read()
    assert ((frame[4::8, 4::8].mean(axis=2) > 128) == mask[4::8, 4::8]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_and_its_mask_of_one_orientation_are_turned_alike(tmp_path: Path, orientation: int) -> None:
    pair = pair_with(tmp_path, orientation, orientation)
    assert_aligned(pair)
    sides_px = (HEIGHT * 8, WIDTH * 8)
    assert read_rgb(pair.image).shape[:2] == (sides_px[::-1] if orientation > 4 else sides_px)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("is_upright", [False, True])
def test_the_size_shows_whether_a_mask_without_an_orientation_is_turned_already(
    tmp_path: Path, orientation: int, is_upright: bool
) -> None:
    assert_aligned(pair_with(tmp_path, orientation, 1, is_upright=is_upright))


@pytest.mark.parametrize(
    ("of_image", "of_mask", "fire"),
    [(3, 1, FIRE), (1, 2, FIRE), (6, 1, FIRE[:, :HEIGHT]), (6, 8, FIRE), (1, 8, FIRE[:, :HEIGHT])],
)
def test_orientations_that_may_turn_the_mask_away_from_its_image_are_an_error(
    tmp_path: Path, of_image: int, of_mask: int, fire: npt.NDArray[np.bool_]
) -> None:
    with pytest.raises(UserError, match=rf"different EXIF orientations \({of_mask} and {of_image}\).*mogrify"):
        pair_with(tmp_path, of_image, of_mask, fire=fire).read()


def test_an_empty_mask_needs_no_orientation(tmp_path: Path) -> None:
    assert not pair_with(tmp_path, 3, 1, fire=EMPTY).read()[1].any()


def test_a_mask_of_another_size_is_an_error_that_names_the_orientations(tmp_path: Path) -> None:
    pair = pair_with(tmp_path, 6, 1)
    assert pair.mask is not None
    cv2.imwrite(str(pair.mask), np.zeros((9, 9), np.uint8))
    with pytest.raises(UserError, match=r"is 9x9 but its image a.jpg is 96x128 \(EXIF orientation 1 and 6\)"):
        pair.read()
