"""Read COCO instance segmentation, as annotation tools such as CVAT and Label Studio write it: polygons and RLE.

Format: https://cocodataset.org/#format-data. Of several categories, "fire" counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import UserError, one_line, reason_of
from edge.files import read_limited
from edge.images import Mask

MAX_BYTES = 64 << 20  # Python's objects take up to 25 times as much
CATEGORY = "fire"
EXPECTED = "expected COCO instance segmentation, as CVAT and Label Studio export it"
MAX_COORDINATE = 1 << 20
MAX_LENGTH_BITS = 40  # of a run in an RLE


@dataclass
class CocoImage:
    """An image and the segmentations of its fire, each polygons or RLE as in the file."""

    file_name: str
    size: tuple[int, int] | None
    """Width and height; None if the file does not say."""
    segmentations: list[Any] = field(default_factory=list)


def read_coco(path: Path) -> list[CocoImage]:
    """Return the images that a COCO file lists, those without fire included. Raises `UserError`."""
    try:
        coco = json.loads(read_limited(path, MAX_BYTES, "check the path"))
        ids = _category_ids(coco, path)
        images = {
            image["id"]: CocoImage(
                str(image["file_name"]), (int(image["width"]), int(image["height"])) if "width" in image else None
            )
            for image in coco["images"]
        }
        for annotation in coco.get("annotations", []):
            if annotation["category_id"] in ids:
                if not annotation["segmentation"]:
                    raise UserError(f"{path} labels fire by boxes", "expected areas: label it with polygons or masks")
                images[annotation["image_id"]].segmentations.append(annotation["segmentation"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} could not be read ({one_line(reason_of(error))})", EXPECTED) from error
    return list(images.values())


def _category_ids(coco: Any, path: Path) -> set[Any]:
    names = {category["id"]: str(category["name"]) for category in coco["categories"]}
    fire = {id_ for id_, name in names.items() if name.strip().lower() == CATEGORY}
    if not fire and len(names) != 1:
        shown = one_line(", ".join(names.values())) or "none"
        raise UserError(f"{path} has the categories {shown}", f"expected one that is called {CATEGORY}")
    return fire or set(names)


def draw(image: CocoImage, height: int, width: int) -> Mask:
    """Return the fire mask of an image, H x W. Raises `UserError` if a segmentation cannot be drawn."""
    if image.size and image.size != (width, height):
        listed = "x".join(map(str, image.size))
        raise UserError(f"{one_line(image.file_name)} has {width}x{height} px", f"expected {listed}, as in the labels")
    mask = np.zeros((height, width), np.uint8)
    for segmentation in image.segmentations:
        try:
            if isinstance(segmentation, dict):
                mask |= _decode_rle(segmentation, height, width)
            else:
                for polygon in segmentation:
                    points = np.array(polygon, np.float64).reshape(-1, 2)
                    if len(points) < 3 or not np.isfinite(points).all():
                        raise ValueError("a polygon without three corners")
                    _fill(mask, points.clip(-MAX_COORDINATE, MAX_COORDINATE))
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            problem = f"a label of {one_line(image.file_name)} cannot be drawn ({one_line(str(error))})"
            raise UserError(problem, "expected polygons or RLE") from error
    return mask.astype(bool)


def _fill(mask: npt.NDArray[np.uint8], points: npt.NDArray[np.float64]) -> None:
    """Set the pixels whose centre lies inside the polygon (even-odd rule) to 1. Integers are the edges of pixels."""
    low, high = np.clip([points.min(axis=0), points.max(axis=0)], 0, mask.shape[::-1])
    (left, top), (right, bottom) = np.floor(low).astype(int), np.ceil(high).astype(int)
    crossings = np.zeros((bottom - top, right - left + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        first, last = np.ceil(np.clip(sorted((y0, y1)), top, bottom) - 0.5).astype(int)
        rows = np.arange(first, last)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossings[rows - top, np.ceil(x - 0.5).clip(left, right).astype(int) - left] ^= 1
    mask[top:bottom, left:right] |= np.bitwise_xor.accumulate(crossings[:, :-1], axis=1)


def _decode_rle(rle: dict[str, Any], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a run-length-encoded mask of 0 and 1: lengths down the columns, of background and fire in turn."""
    counts = rle["counts"]
    lengths = np.array(_unpack(counts, height * width) if isinstance(counts, str) else counts, np.int64)
    # Each one first: a sum of 64 bits that overflows may be right.
    are_possible = lengths.ndim == 1 and ((lengths >= 0) & (lengths <= height * width)).all()
    if rle["size"] != [height, width] or not are_possible or lengths.sum() != height * width:
        raise ValueError("the RLE has another size than the image")
    values = np.repeat((np.arange(len(lengths)) % 2).astype(np.uint8), lengths)
    return values.reshape(width, height).T


def _unpack(text: str, max_lengths: int) -> list[int]:
    """Return the lengths in COCO's compressed text: 5 bits a letter, from the third on as differences.

    Raises ValueError for more than `max_lengths`, and one more: an image that begins with fire begins with a zero.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        value |= (code & 31) << shift
        shift += 5
        if shift > MAX_LENGTH_BITS or len(lengths) > max_lengths:
            raise ValueError("the RLE is longer than the image")
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths
