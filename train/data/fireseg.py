"""Load folders of images and masks as checked pairs.

Two layouts: FireSeg's own (`images_prepped_{train,test}/img(N).jpg` with `annotations_prepped_*` or
`annotations_binary_*`), and plain `images/` + `masks/` with equal stems. Frames of one video look alike, so every pair
knows its video: from `groups.csv` (stem, group) if present, else from FireSeg's numbering.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from edge.errors import UserError, UserErrors
from edge.files import printable, read_limited, sha256
from edge.images import Frame, Mask, list_images, read_rgb
from train.data.masks import read_aligned_mask

Part = Literal["train", "test", "all"]
P = TypeVar("P", "Pair", int)
T = TypeVar("T")

MASK_FOLDERS = ("annotations_prepped", "annotations_binary")
FRAMES_PER_VIDEO = 30  # FireSeg numbers its frames from train to test in blocks of 30, one video each
GROUPS_FILE = "groups.csv"
MAX_GROUPS_BYTES = 16 << 20


@dataclass(frozen=True)
class Pair:
    """One image and its mask. `part` is the folder of the published split, "all" if the layout has none."""

    name: str
    image: Path
    mask: Path | None
    """None for an image without fire."""
    part: Part
    video: str

    def read(self) -> tuple[Frame, Mask]:
        """Return RGB `uint8` H x W x 3 and the boolean fire mask H x W. Raises `UserError` if either is broken.

        Both are turned by the EXIF orientation.
        """
        frame = read_rgb(self.image)
        if self.mask is None:
            return frame, np.zeros(frame.shape[:2], np.bool_)
        return frame, read_aligned_mask(self.mask, self.image, frame)


@dataclass(frozen=True)
class Dataset:
    """All pairs of a folder, sorted by part, then by number or name."""

    root: Path
    layout: Literal["fireseg", "folders", "negatives"]
    pairs: tuple[Pair, ...]

    @property
    def parts(self) -> dict[str, list[Pair]]:
        """The pairs of each part."""
        parts: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            parts.setdefault(pair.part, []).append(pair)
        return parts


def load_dataset(root: Path) -> Dataset:
    """Pair up the images and masks below `root` without opening them. Raises `UserError` listing every unpaired file.

    Example:
        >>> dataset = load_dataset(Path("data/fireseg"))
        >>> frame, mask = dataset.pairs[0].read()
    """
    if not os.path.isdir(root):  # noqa: PTH112  also False for a name that is too long
        raise UserError(
            f"data folder {root} {'is a file' if os.path.isfile(root) else 'does not exist'}",  # noqa: PTH113
            "expected FireSeg's folders or images/ + masks/; "
            "`fireseg-train fetch` downloads FireSeg, `fireseg-train synth` makes a synthetic set",
        )
    parts: list[tuple[Part, Path, list[Path]]] = [
        (part, root / f"images_prepped_{part}", [root / f"{prefix}_{part}" for prefix in MASK_FOLDERS])
        for part in ("train", "test")
        if (root / f"images_prepped_{part}").is_dir()
    ]
    layout: Literal["fireseg", "folders"] = "fireseg" if parts else "folders"
    if not parts:
        if not (root / "images").is_dir() or not (root / "masks").is_dir():
            raise UserError(
                f"{root} holds no data set",
                "expected images_prepped_train/ and annotations_prepped_train/ "
                "as FireSeg has them, or images/ and masks/",
            )
        parts = [("all", root / "images", [root / "masks"])]
    groups = read_groups(root / GROUPS_FILE)
    pairs: list[Pair] = []
    problems: list[str] = []
    numbered_before = 0
    for part, image_folder, mask_folders in parts:
        mask_folder = next((folder for folder in mask_folders if folder.is_dir()), mask_folders[0])
        pairs_of_part = _pair_up(part, image_folder, mask_folder, groups, numbered_before, problems)
        pairs += pairs_of_part
        # By the highest number, not the count: omitting some images must not shift the videos of the test part.
        numbered_before += max((_number(pair.image.stem) or 0 for pair in pairs_of_part), default=0)
    problems += _unknown_names(root / GROUPS_FILE, groups, (pair.name for pair in pairs))
    if problems:
        raise UserErrors(problems)
    if layout == "folders" and not groups:
        warnings.warn(
            f"{root} has no {GROUPS_FILE}, so every image counts as its own video: neighbouring frames on both "
            "sides of a split inflate every metric",
            stacklevel=2,
        )
    return Dataset(root, layout, tuple(pairs))


def load_negatives(root: Path) -> Dataset:
    """Load images without fire from `root/images/` or `root`. Raises `UserError`.

    Each is its own video, unless there is a `groups.csv` in `root`, or beside it if `root` is such an `images/`.
    """
    if not os.path.isdir(root):  # noqa: PTH112  also False for a name that is too long
        raise UserError(f"negatives folder {root} does not exist", "expected a folder of images without fire")
    if (root / "masks").is_dir():
        raise UserError(
            f"{root} holds masks, and negatives have none", "pass it as --extra, or the folder of its images"
        )
    folder = root / "images" if (root / "images").is_dir() else root
    problems: list[str] = []
    images = _by_stem(folder, problems)
    listed = (root.parent if root.name == "images" else root) / GROUPS_FILE
    groups = read_groups(listed)
    problems += _unknown_names(listed, groups, images)
    if problems:
        raise UserErrors(problems)
    if not images:
        raise UserError(f"{folder} holds no images", "expected at least one .jpg or .png")
    pairs = [Pair(stem, image, None, "all", groups.get(stem, stem)) for stem, image in images.items()]
    return Dataset(root, "negatives", tuple(pairs))


def _unknown_names(file: Path, groups: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return a problem if the groups name images that do not exist."""
    unknown = sorted(groups.keys() - set(names))
    if not unknown:
        return []
    missing = f"{file} names {len(unknown)} images that do not exist (first: {unknown[0]})"
    return [f"{missing}: expected names without suffix"]


def map_pairs(function: Callable[[P], T], pairs: Sequence[P]) -> list[T]:
    """Return `function` of every pair, or of its index, computed in threads.

    Raises `UserErrors` that list and count all pairs for which it raised `UserError`.
    """

    def attempt(pair: P) -> T | UserError:
        try:
            return function(pair)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, pairs))
    refuse_broken([result for result in results if isinstance(result, UserError)], len(pairs))
    return [result for result in results if not isinstance(result, UserError)]


def refuse_broken(errors: Sequence[UserError], total: int) -> None:
    """Raise `UserErrors` that list the errors of reading pairs and count them, if there are any."""
    if errors:
        lines = [line for error in errors for line in error.lines]
        raise UserErrors([*lines, f"{len(errors)} of {total} images cannot be used: repair or remove them"])


def content_hash(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 over the content of all images and masks, independent of names and order."""

    def digest(pair: Pair) -> str:
        # The constant is part of hashes in published cards.
        return sha256(pair.image) + (sha256(pair.mask) if pair.mask else "nothing burns")

    with ThreadPoolExecutor() as pool:
        digests = sorted(pool.map(digest, pairs))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _pair_up(
    part: Part, image_folder: Path, mask_folder: Path, groups: dict[str, str], numbered_before: int, problems: list[str]
) -> list[Pair]:
    images = _by_stem(image_folder, problems)
    masks = _by_stem(mask_folder, problems) if mask_folder.is_dir() else {}
    if not images:
        problems.append(f"{image_folder} holds no images: expected at least one .jpg or .png")
        return []
    if not masks:
        problems.append(f"{mask_folder} holds no masks: expected one .png for each image of {image_folder.name}/")
        return []
    problems += [f"{images[s]} has no mask: expected {mask_folder / s}.png" for s in images if s not in masks]
    problems += [f"{masks[s]} has no image: expected {image_folder / s}.jpg" for s in masks if s not in images]
    pairs = []
    for stem in (stem for stem in images if stem in masks):
        name, video = stem, stem
        if part != "all":
            name = f"{part}/{stem}"
            if (number := _number(stem)) is not None:
                video = f"v{(numbered_before + number - 1) // FRAMES_PER_VIDEO + 1:02d}"
        pairs.append(Pair(name, images[stem], masks[stem], part, groups.get(name, video)))
    return pairs


def _by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Return the images of a folder by stem, img(2) before img(10). Adds a problem for each duplicate stem."""

    def natural(path: Path) -> list[tuple[int, str]]:
        pieces = re.split(r"(\d+)", path.stem)
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]

    images: dict[str, Path] = {}
    for path in sorted(list_images(folder), key=natural):
        first = images.setdefault(printable_name(path.stem), path)
        if first != path:
            problems.append(f"{path} and {first.name} have one name: expected one image for each")
    return images


def read_groups(path: Path) -> dict[str, str]:
    """Return the group of each stem in a groups.csv; empty without the file. Raises `UserError` if it is invalid."""
    if not os.path.lexists(path):
        return {}
    try:
        # Spreadsheets write a byte order mark.
        text = read_limited(path, MAX_GROUPS_BYTES, "expected a CSV file").decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [[printable_name(cell) for cell in line] for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} could not be read ({error})", "expected CSV in UTF-8") from error
    if not lines or not {"stem", "group"} <= set(lines[0]):
        raise UserError(f"{path} has no columns stem and group", "expected a first line `stem,group`")
    rows = [dict(zip_longest(lines[0], line, fillvalue="")) for line in lines[1:]]
    if bad := [row["stem"] for row in rows if not row["stem"] or not row["group"]]:
        raise UserError(f"{path} has {len(bad)} lines without a stem or a group (first: {bad[0]!r})", "expected both")
    groups: dict[str, str] = {}
    for row in rows:
        if groups.setdefault(row["stem"], row["group"]) != row["group"]:
            raise UserError(f"{path} has two groups for {row['stem']}", "expected one line for each image")
    return groups


def printable_name(name: str) -> str:
    """Return the name of a file as text that plots, JSON and hashes take: other bytes than UTF-8 become such as \\xe9.

    Without spaces around it and in NFC, since macOS stores accents as separate characters.
    """
    return unicodedata.normalize("NFC", printable(name.strip()))


def _number(stem: str) -> int | None:
    """Return the N of img(N)."""
    match = re.search(r"\((\d+)\)$", stem)
    return int(match[1]) if match else None
