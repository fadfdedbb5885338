"""A small procedural stand-in for FireSeg, in FireSeg's layout, so that a fresh clone can do everything.

Painted scenes with flames whose exact mask is known, and look-alikes without: sunsets, lamps, red vehicles, autumn
trees. It serves tests, first runs and checks of the calibration; what a model scores on it says nothing about real
fires, and the README.txt beside it says so. The same seed, count and size give the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.files import make_folder
from edge.images import Frame
from train.fireseg import GROUPS_FILE, Dataset, Part, load_dataset
from train.places import KINDS
from train.scenes import make_scene, paint

HEIGHT = 252
WIDTH = 448  # FireSeg's most frequent shape, at the size it usually gets reduced to
SMALLEST_SIDE_PX = 32

SCENES = 6  # the fewest: five to train on by video, one to judge by
MOST_FRAMES_PER_SCENE = 5
TEST_EVERY = 6  # the last scene of every six is for the test: 5 to 1, as FireSeg's 500 and 100
FIRE_SHARE = 0.7
FRAME_INTERVAL_S = 0.7  # far enough apart for flames to look different, as in FireSeg's picked frames
JPEG_QUALITY = 92

README_FILE = "README.txt"
README = """\
A procedural set in FireSeg's layout, painted by train/synthetic.py. It is NOT FireSeg, and no photograph: figures
measured on it say nothing about real fires.

painter: {painter}
seed: {seed}
count: {count}
size: {width}x{height}
"""
PAINTER = 1  # raise it when the same seed no longer gives the same pictures


@dataclass(frozen=True)
class _Shot:
    """One frame to paint: which scene, the how many-th of it, and its number in its part."""

    scene: int
    frame: int
    part: Part
    number: int

    @property
    def stem(self) -> str:
        return f"img({self.number})"


def generate(
    out: Path,
    count: int,
    seed: int,
    *,
    height: int = HEIGHT,
    width: int = WIDTH,
    on_progress: Callable[[], None] | None = None,
) -> Dataset:
    """Write `count` pairs below `out`, all or nothing; `on_progress` is called after each.

    A set of the same seed, count and size that lies there already is left alone. Raises `UserError` where `out` holds
    anything else, or cannot be written.
    """
    _check(count, seed, height, width)
    readme = README.format(painter=PAINTER, seed=seed, count=count, width=width, height=height)
    if out.exists() and not _is_empty_folder(out):
        if _read_text(out / README_FILE) == readme:
            return load_dataset(out)
        raise UserError(
            f"{out} is not empty: expected a new folder, or a synthetic set of seed {seed} with {count} images of "
            f"{width}x{height}; choose another folder or remove this one"
        )
    make_folder(out.parent)
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            # Inside the staging folder, whose 0700 would otherwise stay with the set.
            _write_set(staging / "set", readme, count, seed, height, width, on_progress)
            (staging / "set").replace(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{out} could not be written ({error.strerror or error}): choose a folder that you may write to"
        ) from error
    return load_dataset(out)


def _write_set(
    folder: Path, readme: str, count: int, seed: int, height: int, width: int, on_progress: Callable[[], None] | None
) -> None:
    for part in ("train", "test"):
        (folder / f"images_prepped_{part}").mkdir(parents=True)
        (folder / f"annotations_prepped_{part}").mkdir()
    groups = io.StringIO()
    table = csv.writer(groups, lineterminator="\n")
    table.writerow(("stem", "group"))
    scene = None
    for shot in _shots(count):
        if shot.frame == 0 or scene is None:
            scene = make_scene(
                [seed, shot.scene], _kind(seed, shot.scene), fire=_has_fire(shot.scene), height=height, width=width
            )
        picture, burning = paint(scene, shot.frame * FRAME_INTERVAL_S, [seed, shot.scene, shot.frame])
        (folder / f"images_prepped_{shot.part}" / f"{shot.stem}.jpg").write_bytes(_jpeg(picture))
        (folder / f"annotations_prepped_{shot.part}" / f"{shot.stem}.png").write_bytes(_png(burning))
        table.writerow((f"{shot.part}/{shot.stem}", f"scene-{shot.scene + 1:03d}"))
        if on_progress:
            on_progress()
    (folder / GROUPS_FILE).write_text(groups.getvalue())
    (folder / README_FILE).write_text(readme)


def _shots(count: int) -> Iterator[_Shot]:
    """Every frame, scene by scene. As many scenes as give each about the same number of frames, and at least six."""
    scenes = max(SCENES, math.ceil(count / MOST_FRAMES_PER_SCENE))
    numbers: dict[Part, int] = {"train": 0, "test": 0}
    for scene in range(scenes):
        part: Part = "test" if scene % TEST_EVERY == TEST_EVERY - 1 else "train"
        for frame in range(count * (scene + 1) // scenes - count * scene // scenes):
            numbers[part] += 1
            yield _Shot(scene, frame, part, numbers[part])


def _kind(seed: int, scene: int) -> str:
    """Every kind once in as many scenes as there are kinds, each time in another order."""
    turn, index = divmod(scene, len(KINDS))
    return str(np.random.default_rng([seed, turn]).permutation(list(KINDS))[index])


def _has_fire(scene: int) -> bool:
    """True for seven scenes of ten, evenly spread; the first of the test is among them."""
    return int((scene + 1) * FIRE_SHARE) > int(scene * FIRE_SHARE)


def _check(count: int, seed: int, height: int, width: int) -> None:
    if count < SCENES:
        raise UserError(f"a synthetic set of {count} images has too few scenes to split: expected {SCENES} or more")
    if seed < 0:
        raise UserError(f"seed {seed} is negative: expected 0 or more")
    if min(height, width) < SMALLEST_SIDE_PX:
        raise UserError(f"{width}x{height} is too small to paint: expected at least {SMALLEST_SIDE_PX} px a side")


def _jpeg(picture: Frame) -> bytes:
    # Every parameter that shapes the bytes is set, so that no default of another version changes the set.
    parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_PROGRESSIVE, 0, cv2.IMWRITE_JPEG_OPTIMIZE, 0]
    return _encoded(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)


def _png(burning: npt.NDArray[np.bool_]) -> bytes:
    return _encoded(".png", burning.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def _encoded(suffix: str, picture: npt.NDArray[np.uint8] | cv2.typing.MatLike, parameters: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, picture, parameters)
    if not done:
        raise OSError(f"OpenCV could not encode {suffix}")
    return data.tobytes()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
