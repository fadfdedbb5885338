"""Export the frames of fires with a verdict in the layout of a training set.

OUT/negatives has images/ and groups.csv, each frame also as the tiles that the detector searches. OUT/fires also has
masks/, the predicted masks as a first draft, and coco.json, the same masks as polygons for annotation tools. A later
export into the same folder adds and removes frames, and does not change existing ones: their masks may have been
corrected.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.control.feedback import JudgedFire, Verdict, list_fires
from edge.detection.views import MAX_ZOOM, crop, tiles_of
from edge.errors import UserError, reason_of
from edge.event_files import FRAME, MASK_SUFFIX
from edge.files import printable, write_private
from edge.images import Frame, encode_jpeg, list_images, read_gray_or_colour, read_rgb

EXPORT_FILE = "feedback.json"  # marks a folder as an export
FOLDERS = {Verdict.NOT_A_FIRE: "negatives", Verdict.FIRE: "fires"}
PRIVATE_FOLDER = 0o700
TILE_ZOOMS = (2, MAX_ZOOM)  # at which a detector searches a frame
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ExportedSet:
    """The size of one set of an export."""

    name: str
    images: int
    fires: int


def export_feedback(folder: Path, out: Path) -> list[ExportedSet]:
    """Export the frames of a folder of clips to `out` and return its sets. Raises `UserError`.

    Example:
        >>> export_feedback(Path("events"), Path("feedback"))
        [ExportedSet('negatives', 12, 1), ExportedSet('fires', 24, 2)]
    """
    check_out(out)
    fires = list_fires(folder)
    if not any(fire.verdict for fire in fires) and not (out / EXPORT_FILE).exists():
        raise UserError(f"no fire in {folder} has a verdict", "give some on the live page")
    try:
        parts = out / "negatives/images", out / "fires/images", out / "fires/masks"
        for each in (out, *(out / name for name in FOLDERS.values()), *parts):
            each.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_private(out / EXPORT_FILE, json.dumps({"fires": [asdict(fire) for fire in fires]}, indent=2).encode())
        for fire in fires:
            for verdict, name in FOLDERS.items():
                if verdict == fire.verdict:
                    copy_frames(folder, fire, out / name)
                else:
                    remove_frames(fire, out / name)
        return [write_lists(out / name) for name in FOLDERS.values()]
    except OSError as error:
        raise UserError(f"{out} could not be written ({reason_of(error)})", "choose a writable folder") from error


def check_out(out: Path) -> None:
    """Raise `UserError` if a folder holds anything but an earlier export."""
    try:
        if out.exists() and any(out.iterdir()) and not (out / EXPORT_FILE).is_file():
            raise UserError(f"{out} is not empty, and not an earlier export", "pass a new folder")
    except OSError as error:
        raise UserError(f"{out} could not be read ({reason_of(error)})", "pass a new folder") from error


def copy_frames(folder: Path, fire: JudgedFire, target: Path) -> None:
    """Copy the frames of a fire that the target lacks, with their masks if it takes masks; warn of damaged ones."""
    for mask_path in sorted(folder.glob(f"{fire.id}{FRAME}*{MASK_SUFFIX}")):
        stem = mask_path.name.removesuffix(MASK_SUFFIX)
        image_path, copied = folder / f"{stem}.jpg", target / "images" / f"{stem}.jpg"
        if copied.exists() or not image_path.exists():
            continue
        try:
            frame, mask = read_rgb(image_path), read_gray_or_colour(mask_path)
        except UserError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        if (masks := target / "masks").is_dir():
            smooth = cv2.resize(mask, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            _, png = cv2.imencode(".png", np.where(smooth >= 128, 255, 0).astype(np.uint8))
            write_private(masks / f"{stem}.png", png.tobytes())
        else:
            for name, tile in tiles(frame):
                write_private(target / "images" / f"{stem}-{name}.jpg", encode_jpeg(tile, JPEG_QUALITY))
        write_private(copied, image_path.read_bytes())


def tiles(frame: Frame) -> Iterator[tuple[str, Frame]]:
    """Yield the detector's tiles of a frame at each of `TILE_ZOOMS`, each with a name such as 2x-1.

    What raises a false alarm is often a few pixels of one tile, which a frame squashed to model size no longer shows.
    """
    for zoom in TILE_ZOOMS:
        for number, view in enumerate(tiles_of(zoom), 1):
            if (tile := crop(frame, view)).size:  # of a frame of a few pixels
                yield f"{zoom}x-{number}", tile


def remove_frames(fire: JudgedFire, target: Path) -> None:
    """Delete the files of a fire that an earlier export wrote under another verdict."""
    for part in ("images", "masks"):
        for path in (target / part).glob(f"{fire.id}{FRAME}*"):
            path.unlink()


def write_lists(target: Path) -> ExportedSet:
    """Write groups.csv, and coco.json if there are masks; return the size of the set."""
    images = list_images(target / "images")
    groups = [(path.stem, path.stem.rpartition(FRAME)[0] or path.stem) for path in images]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("stem", "group"), *groups])
    write_private(target / "groups.csv", text.getvalue().encode())
    if (target / "masks").is_dir():
        write_private(target / "coco.json", json.dumps(coco(images, target / "masks"), indent=1).encode())
    return ExportedSet(target.name, len(images), len({group for _, group in groups}))


def coco(images: list[Path], masks: Path) -> dict[str, Any]:
    """Return the masks as COCO instance segmentation, one polygon for each connected region; holes are filled."""
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, path in enumerate(images, 1):
        mask = read_gray_or_colour(masks / f"{path.stem}.png")
        height, width = mask.shape[:2]
        listed.append({"id": image_id, "file_name": printable(path.name), "width": width, "height": height})
        for polygon in polygons(mask if mask.ndim == 2 else mask.max(axis=2)):
            x, y, box_width, box_height = cv2.boundingRect(polygon)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "segmentation": [polygon.ravel().tolist()],
                    "area": float(cv2.contourArea(polygon)),
                    "bbox": [x, y, box_width, box_height],
                    "iscrowd": 0,
                }
            )
    category = {"id": 1, "name": "fire", "supercategory": ""}
    return {"info": {}, "licenses": [], "images": listed, "annotations": annotations, "categories": [category]}


def polygons(mask: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.int32]]:
    """Yield the outline of each connected region along the edges of its pixels: N x 2, at least four corners."""
    # Enlarged by 3, the first and last pixel of a run lie within a third of its edges.
    large = cv2.resize((mask > 0).astype(np.uint8), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        corners = np.rint((contour.reshape(-1, 2) + 0.5) / 3).astype(np.int32)
        yield corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
