"""Folders on disk -> checked pairs of image and mask.

Two layouts are read: FireSeg's own (`images_prepped_{train,test}/img(N).jpg` with `annotations_prepped_*` or
`annotations_binary_*`), and plain `images/` + `masks/` with the same stems. Frames of one video look alike, so every
pair knows its video: from `groups.csv` (stem, group) where there is one, else from FireSeg's numbering. Pictures
without flames need no masks: `load_negatives` takes a folder of them.
"""

from __future__ import annotations

import csv
import hashlib
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge.errors import UserError, UserErrors
from edge.files import sha256
from edge.images import Frame, list_images, read_gray_or_colour, read_rgb

Part = Literal["train", "test", "all"]

MASK_FOLDERS = ("annotations_prepped", "annotations_binary")
FRAMES_PER_VIDEO = 30  # FireSeg's numbers run on from train to test in blocks of 30, each one video
GROUPS_FILE = "groups.csv"


@dataclass(frozen=True)
class Pair:
    """One image and its mask. `part` is the folder of the published split, "all" where the layout has none."""

    name: str
    image: Path
    mask: Path | None
    """None where nothing burns."""
    part: Part
    video: str

    def read(self) -> tuple[Frame, npt.NDArray[np.bool_]]:
        """RGB `uint8` H x W x 3, and fire as boolean H x W. Raises `UserError` where either is broken."""
        frame = read_rgb(self.image)
        if self.mask is None:
            return frame, np.zeros(frame.shape[:2], np.bool_)
        mask = read_mask(self.mask)
        if frame.shape[:2] != mask.shape:
            raise UserError(
                f"{self.mask} is {_size(mask)} but its image {self.image.name} is {_size(frame)}",
                "expected one size for both",
            )
        return frame, mask


@dataclass(frozen=True)
class Dataset:
    """All pairs of a folder, in the order of the parts, then of numbers or names."""

    root: Path
    layout: Literal["fireseg", "folders", "negatives"]
    pairs: tuple[Pair, ...]

    @property
    def parts(self) -> dict[str, list[Pair]]:
        found: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            found.setdefault(pair.part, []).append(pair)
        return found


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Read a mask as boolean H x W: any value above zero, in any channel, is fire.

    Copies with 0/1, with 0/255 and with three channels circulate. A value between betrays JPEG or interpolation: the
    edges of such a mask are guesses, and it is worth a warning.
    """
    values = read_gray_or_colour(path)
    if values.ndim == 3:
        values = values[:, :, :3].max(axis=2)  # a fourth channel is alpha, not fire
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if levels.size > 2 or (levels.size == 2 and (levels[0] != 0 or levels[1] not in (1, 255))):
        warnings.warn(
            f"{path} holds {levels.size} levels, expected 0 and 1 or 0 and 255; every value above 0 is taken as fire",
            stacklevel=2,
        )
    return values > 0


def load_dataset(root: Path) -> Dataset:
    """Find all pairs below `root` by name, without opening them. Raises `UserError` listing every unpaired file."""
    if not root.is_dir():
        raise UserError(
            f"data folder {root} does not exist",
            "expected FireSeg's folders or images/ + masks/; "
            "`fireseg-train fetch` brings FireSeg, `fireseg-train synth` makes a stand-in",
        )
    groups = _read_groups(root / GROUPS_FILE)
    parts: list[tuple[Part, Path, Path]] = []
    for part in ("train", "test"):
        images = root / f"images_prepped_{part}"
        if images.is_dir():
            parts.append((part, images, _mask_folder(root, part)))
    layout: Literal["fireseg", "folders"] = "fireseg" if parts else "folders"
    if not parts:
        if not (root / "images").is_dir() or not (root / "masks").is_dir():
            raise UserError(
                f"{root} holds no data set",
                "expected images_prepped_train/ and annotations_prepped_train/ "
                "as FireSeg has them, or images/ and masks/",
            )
        parts.append(("all", root / "images", root / "masks"))

    pairs, problems, numbered_before = [], [], 0
    for part, image_folder, mask_folder in parts:
        found, wrong = _pair_up(part, image_folder, mask_folder, groups, numbered_before)
        pairs += found
        problems += wrong
        # By the highest number, not by how many there are: leaving some images out must not shift the test's videos.
        numbered_before += max((_number(pair.image.stem) or 0 for pair in found), default=0)
    if unknown := sorted(groups.keys() - {pair.name for pair in pairs}):
        problems.append(
            f"{root / GROUPS_FILE} speaks of {len(unknown)} images that are not there (first: {unknown[0]}): "
            "expected names without suffix"
        )
    if problems:
        raise UserErrors(problems)
    if layout == "folders" and not groups:
        warnings.warn(
            f"{root} has no {GROUPS_FILE}, so every image counts as a video of its own: neighbouring frames on both "
            "sides of a split flatter every figure",
            stacklevel=2,
        )
    return Dataset(root, layout, tuple(pairs))


def load_negatives(root: Path) -> Dataset:
    """Pictures without flames, in `root/images/` or in `root` itself, each a video of its own. Raises `UserError`."""
    if not root.is_dir():
        raise UserError(f"negatives folder {root} does not exist", "expected a folder of pictures without flames")
    if (root / "masks").is_dir():
        raise UserError(
            f"{root} holds masks, and negatives have none", "pass it as --extra, or the folder of its images"
        )
    folder = root / "images" if (root / "images").is_dir() else root
    images, problems = _by_stem(folder)
    if problems:
        raise UserErrors(problems)
    if not images:
        raise UserError(f"{folder} holds no images", "expected at least one .jpg or .png")
    pairs = (Pair(stem, images[stem], None, "all", stem) for stem in sorted(images, key=_natural))
    return Dataset(root, "negatives", tuple(pairs))


def find_broken(pairs: Sequence[Pair]) -> list[str]:
    """Open every file and describe each that is unreadable, or whose mask has another size than its image."""

    def problem(pair: Pair) -> str | None:
        try:
            pair.read()
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        return [text for text in pool.map(problem, pairs) if text]


def content_hash(pairs: Sequence[Pair]) -> str:
    """SHA-256 over the content of all images and masks, whatever their names and order."""
    with ThreadPoolExecutor() as pool:
        digests = sorted(pool.map(_digest, pairs))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(pair: Pair) -> str:
    return sha256(pair.image) + (sha256(pair.mask) if pair.mask else "nothing burns")


def _pair_up(
    part: Part, image_folder: Path, mask_folder: Path, groups: dict[str, str], numbered_before: int
) -> tuple[list[Pair], list[str]]:
    images, problems = _by_stem(image_folder)
    masks, doubled_masks = _by_stem(mask_folder) if mask_folder.is_dir() else ({}, [])
    problems += doubled_masks
    if not images:
        return [], [f"{image_folder} holds no images: expected at least one .jpg or .png"]
    if not masks:
        return [], [f"{mask_folder} holds no masks: expected one .png for each image of {image_folder.name}/"]
    problems += [
        f"{path} has no mask: expected {mask_folder / (stem + '.png')}"
        for stem, path in images.items()
        if stem not in masks
    ]
    problems += [
        f"{path} has no image: expected {image_folder / (stem + '.jpg')}"
        for stem, path in masks.items()
        if stem not in images
    ]
    pairs = []
    for stem in sorted(images.keys() & masks.keys(), key=_natural):
        number = _number(stem)
        name = stem if part == "all" else f"{part}/{stem}"
        if name in groups:
            video = groups[name]
        elif number is not None and part != "all":
            video = f"v{(numbered_before + number - 1) // FRAMES_PER_VIDEO + 1:02d}"
        else:
            video = stem  # nothing is known: every image stands for itself
        pairs.append(Pair(name, images[stem], masks[stem], part, video))
    return pairs, problems


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The pictures of a folder by their stems, and a complaint for each stem that stands twice."""
    found: dict[str, Path] = {}
    problems = []
    for path in list_images(folder):
        if path.stem in found:
            problems.append(f"{path} and {found[path.stem].name} have one name: expected one picture for each")
        found.setdefault(path.stem, path)
    return found, problems


def _mask_folder(root: Path, part: str) -> Path:
    candidates = [root / f"{prefix}_{part}" for prefix in MASK_FOLDERS]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def _read_groups(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} could not be read ({error})", "expected CSV in UTF-8") from error
    if not rows or not {"stem", "group"} <= rows[0].keys():
        raise UserError(f"{path} has no columns stem and group", "expected a first line `stem,group`")
    if bad := [row["stem"] for row in rows if not row["stem"] or not row["group"]]:
        raise UserError(f"{path} has {len(bad)} lines without a stem or a group (first: {bad[0]!r})", "expected both")
    return {row["stem"]: row["group"] for row in rows}


def _number(stem: str) -> int | None:
    """The N of img(N)."""
    found = re.search(r"\((\d+)\)$", stem)
    return int(found[1]) if found else None


def _natural(stem: str) -> list[tuple[int, str]]:
    """Sort img(2) before img(10)."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", stem)]


def _size(picture: npt.NDArray[np.generic]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
