"""Import corrected labels, COCO or masks as images, to images/, masks/ and groups.csv.

Frames of one fire get one group, by the names that `fireseg-edge feedback export` gives them.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from edge.errors import UserError, UserErrors, one_line, reason_of
from edge.event_files import EVENT_ID, FRAME
from edge.files import make_folder, printable
from edge.images import IMAGE_SUFFIXES, Frame, Mask, list_images, read_rgb, write_image
from train.data.coco import CocoImage, draw, read_coco
from train.data.fireseg import GROUPS_FILE, printable_name, read_groups
from train.data.masks import orientation, read_aligned_mask

EVENT = re.compile(rf"({EVENT_ID.pattern}){FRAME}")
"""In the names of exported frames; annotation tools may put letters before them."""

ReadMask = Callable[[Path, Frame], Mask]


def import_labels(source: Path, images: Path | None, out: Path) -> int:
    """Write the labels of `source` into the new folder `out` and return the number of images.

    Args:
        source: a COCO file, or a folder of masks with the names of their images.
        images: the folder of the images, with its subfolders; by default images/ beside the source or beside the folder
            of a COCO file.
    Raises `UserError`, or `UserErrors` with each image that cannot be used; nothing is written then.

    Example:
        >>> import_labels(Path("cvat/annotations/instances_default.json"), Path("cvat/images"), Path("corrected"))
        24
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already", "pass a new folder")
    if not source.exists():
        raise UserError(f"{source} does not exist", "expected a COCO .json file, or a folder of masks")
    folder = images or next(
        (path for path in (source.parent / "images", source.parent.parent / "images") if path.is_dir()), source.parent
    )
    labels = find_masks(source, folder) if source.is_dir() else find_coco(source, folder)
    if not labels:
        raise UserError(f"{source} labels no images", "expected at least one")
    errors: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=make_folder(out.absolute().parent)) as scratch:
            written = Path(scratch) / "set"
            for image, read in labels.items():
                try:
                    write_pair(image, read, written)
                except UserError as error:
                    errors += error.lines
            if errors:
                raise UserErrors(
                    [*errors, f"{len(errors)} of {len(labels)} labels cannot be used: nothing was written"]
                )
            write_groups(folder, list(labels), written)
            if out.exists():
                out.rmdir()  # empty
            written.rename(out)
    except OSError as error:
        raise UserError(
            f"{out} could not be written ({reason_of(error)})", "free some space, or pass another folder"
        ) from error
    return len(labels)


def find_coco(path: Path, folder: Path) -> dict[Path, ReadMask]:
    """Return the images of a COCO file, and what draws the mask of each. Raises `UserError` if one is missing."""
    by_name = {image.name: image for image in find_images(folder)}
    found: dict[Path, ReadMask] = {}
    missing = []
    for entry in read_coco(path):
        name = PurePosixPath(entry.file_name.replace("\\", "/")).name  # annotation tools change the folder
        if name not in by_name:
            missing.append(name)
        elif by_name[name] in found:
            raise UserError(f"{path} lists {one_line(name)} twice", "remove one of its entries and their labels")
        else:
            found[by_name[name]] = partial(_draw, entry)
    if missing:
        problem = f"{len(missing)} images of {path} are not in {folder} (first: {one_line(missing[0])})"
        raise UserError(problem, "pass their folder with --images")
    return found


def find_masks(source: Path, folder: Path) -> dict[Path, ReadMask]:
    """Return the images of a folder of masks, and what reads the mask of each. Raises `UserError` if one is missing."""
    by_stem = {image.stem: image for image in find_images(folder)}
    found: dict[Path, ReadMask] = {}
    for mask in list_images(source):
        if mask.stem not in by_stem:
            raise UserError(f"{printable(mask)} has no image in {folder}", "pass the images' folder with --images")
        if by_stem[mask.stem] in found:
            raise UserError(f"{printable(source)} holds two masks of {printable(mask.stem)}", "remove one")
        found[by_stem[mask.stem]] = partial(read_aligned_mask, mask)
    return found


def _draw(entry: CocoImage, _: Path, frame: Frame) -> Mask:
    return draw(entry, *frame.shape[:2])


def find_images(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders. Raises `UserError` if two have one name."""
    images: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith("."):
            if other := images.get(path.stem):
                problem = f"{printable(other)} and {printable(path)} have one name"
                raise UserError(problem, "rename one, or pass the images' own folder with --images")
            images[path.stem] = path
    return list(images.values())


def write_pair(image: Path, read: ReadMask, out: Path) -> None:
    """Write an image and its mask, both upright. Raises `UserError` if they cannot be read."""
    frame = read_rgb(image)
    mask = read(image, frame)
    write_image(make_folder(out / "masks") / f"{image.stem}.png", mask.astype(np.uint8) * 255)
    folder = make_folder(out / "images")
    if orientation(image) == 1:
        shutil.copyfile(image, folder / image.name)
    else:
        write_image(folder / f"{image.stem}.png", frame)


def write_groups(folder: Path, images: list[Path], out: Path) -> None:
    """Write groups.csv: by event, else as in the images' own groups.csv, else each image is a group."""
    known = read_groups(folder.parent / GROUPS_FILE) | read_groups(folder / GROUPS_FILE)
    with (out / GROUPS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("stem", "group"))
        for image in images:
            stem = printable_name(image.stem)
            event = EVENT.search(stem)
            writer.writerow((stem, event[1] if event else known.get(stem, stem)))
