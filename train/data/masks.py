"""Read masks of all kinds in use, and turn them as their images are turned."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge.errors import UserError
from edge.image_header import read_header
from edge.images import Frame, Map, Mask, read_gray_or_colour, upright

WHITE = 255
INVERSE = {6: 8, 8: 6}  # the others undo themselves


def read_mask(path: Path) -> Mask:
    """Return a mask as boolean H x W, turned by its EXIF orientation: any value above zero is fire.

    Masks in use have values 0/1 or 0/255, in one or three channels. Fire may also be one colour on white, or the
    opaque pixels. Other values come from JPEG or interpolation and make the boundaries uncertain, so they give a
    warning.
    """
    values = read_gray_or_colour(path)
    if values.ndim == 3:
        values = _fire_levels(values, has_white_first_palette=_has_white_first_palette(path))
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if levels.size > 2 or (levels.size == 2 and (levels[0] != 0 or levels[1] not in (1, 255))):
        warnings.warn(
            f"{path} holds {levels.size} levels, expected 0 and 1 or 0 and 255; every value above 0 is taken as fire",
            stacklevel=2,
        )
    return values > 0


def read_aligned_mask(path: Path, image: Path, frame: Frame) -> Mask:
    """Return the mask of an image, turned as `read_rgb` turned the image to `frame` by its EXIF orientation.

    If only one of the two files has an orientation, the sizes show whether it applies to both. Raises `UserError` if
    they cannot, and for a mask of another size.
    """
    mask = read_mask(path)
    by_image, by_mask = orientation(image), orientation(path)
    other = INVERSE.get(by_mask, by_mask) if by_image == 1 else by_image
    candidates = [mask] if by_image == by_mask else [mask, upright(mask, other)]
    candidates = [candidate for candidate in candidates if candidate.shape == frame.shape[:2]]
    note = f" (EXIF orientation {by_mask} and {by_image})" if by_image != 1 or by_mask != 1 else ""
    if not candidates:
        raise UserError(
            f"{path} is {size(mask)} but its image {image.name} is {size(frame)}{note}", "expected one size for both"
        )
    apart = by_image != by_mask and 1 not in (by_image, by_mask)
    if apart or not np.array_equal(candidates[0], candidates[-1]):
        raise UserError(
            f"{path} and its image {image.name} have different EXIF orientations ({by_mask} and {by_image}), so the "
            "mask may be turned away from the fire",
            "expected both upright and without an orientation; `mogrify -auto-orient` turns an image, but not its mask",
        )
    return candidates[0]


def orientation(path: Path) -> int:
    """Return the EXIF orientation by which `edge.images` rotates an image, 1 to 8; 1 without one."""
    header = read_header(path.read_bytes())
    return header.orientation if header else 1


def size(picture: Frame | Map | Mask) -> str:
    """Return WIDTHxHEIGHT."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _fire_levels(channels: Frame, *, has_white_first_palette: bool) -> Map:
    """Return one channel that is above zero where a mask of three or four channels has fire."""
    colours = channels[:, :, :3]
    levels: npt.NDArray[np.uint8] = colours.max(axis=2)
    if has_white_first_palette or _is_one_colour_on_white(colours):
        levels = np.where((colours != WHITE).any(axis=2), 255, 0).astype(np.uint8)
    if channels.shape[2] < 4:
        return levels
    alpha = channels[:, :, 3]
    if (colours == colours[0, 0]).all() and (alpha < 255).any():
        return alpha  # nothing else tells fire from background
    return np.minimum(levels, alpha) if alpha.any() else levels  # transparent pixels are background


def _is_one_colour_on_white(colours: Frame) -> bool:
    """Return whether the colours are white and one non-grey colour."""
    white = (colours == WHITE).all(axis=2)
    others = colours[~white]
    return bool(white.any() and len(others) and (others == others[0]).all() and len(set(others[0].tolist())) > 1)


def _has_white_first_palette(path: Path) -> bool:
    """Return whether the image has a palette of white, then a colour: entry 0 of a palette is the background."""
    try:
        with Image.open(path) as image:
            palette = (image.getpalette() or []) if image.mode == "P" else []
    except Exception:  # not readable by Pillow, which raises many kinds
        return False
    return palette[:3] == [WHITE] * 3 and len(set(palette[3:6])) > 1
