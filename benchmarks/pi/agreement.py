"""Whether a Pi marks the very pixels that this machine marks: `fireseg-edge segment` in both, on the same pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drift import Loaded, entries
from benchmarks.ledger import Entry
from benchmarks.pi.cpus import Cpu
from benchmarks.pi.instructions import MACHINE
from benchmarks.pi.system import HANDED_IN, System, last_words
from edge.errors import UserError
from train.data.fireseg import Pair
from train.data.sources import DataSource
from train.data.splits import Split
from train.evaluation.evaluate import Masks, Predictions, evaluate

IMAGES = 50
THREADS = "1"


@dataclass(frozen=True)
class Agreement:
    """Masks of one model made in two places."""

    images: int
    differing_images: int
    differing_pixels: int
    pixels: int

    def __str__(self) -> str:
        if not self.differing_pixels:
            return f"the same bytes in all {self.images} masks"
        masks = f"{self.differing_images} of {self.images} masks"
        return f"{self.differing_pixels} of {self.pixels:,} pixels differ, in {masks}"


def spread(pairs: Sequence[Pair], count: int = IMAGES) -> tuple[Pair, ...]:
    """`count` pairs, evenly over all; all where there are no more."""
    step = max(1.0, len(pairs) / count)
    return tuple(pairs[int(index * step)] for index in range(min(count, len(pairs))))


def segment_here(model: Path, pairs: Sequence[Pair], out: Path) -> Masks:
    """The masks that the command on this machine writes."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", "from edge.cli import run; run()", "segment", str(model)]
    images = [str(pair.image) for pair in pairs]
    done = subprocess.run(
        [*command, *images, "--out", str(out), "--threads", THREADS], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError("fireseg-edge segment failed here", f"{last_words(done)}")
    return read_masks(out, pairs)


def segment_inside(system: System, cpu: Cpu, model: Path, pairs: Sequence[Pair]) -> Masks:
    """The masks that the command inside writes: our own wheel, its base dependencies and nothing else."""
    folder = system.hand_in([model, *(pair.image for pair in pairs)])
    inside = system.environment("fireseg")
    images = [f"{HANDED_IN}/{pair.image.name}" for pair in pairs]
    done = system.run(
        cpu, f"{inside}/bin/python", f"{inside}/bin/fireseg-edge", "segment", f"{HANDED_IN}/{model.name}", *images,
        "--out", f"{HANDED_IN}/masks", "--threads", THREADS, "--json",
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"fireseg-edge segment failed on {cpu.name}", f"{last_words(done)}")
    json.loads(done.stdout)  # the whole command ran, to its last line
    return read_masks(folder / "masks", pairs)


def read_masks(folder: Path, pairs: Sequence[Pair]) -> Masks:
    """N x H x W booleans of NAME-mask.png."""
    return np.stack(
        [cv2.imread(str(folder / f"{pair.image.stem}-mask.png"), cv2.IMREAD_GRAYSCALE) > 0 for pair in pairs]
    )


def compare_masks(one: Masks, other: Masks) -> Agreement:
    """Count what differs. Raises ValueError where they are not of one shape."""
    if one.shape != other.shape:
        raise ValueError(f"masks of shape {one.shape} and {other.shape} cannot be compared")
    differs = one != other
    return Agreement(len(one), int(differs.any(axis=(1, 2)).sum()), int(differs.sum()), differs.size)


def ledger_line(
    loaded: Loaded, kind: str, inside: Masks, pairs: Sequence[Pair], source: DataSource, split: Split, cpu: Cpu
) -> Entry:
    """What shrinking costs on the Pi: the masks made inside against the Keras float's, made here."""
    chosen = Split(f"{split.name}, {len(pairs)} of {len(split.test)}", split.train, tuple(pairs))
    floats = evaluate(loaded.predictors["keras"], pairs)
    judged = {"keras": floats, kind: Predictions(floats.names, inside, floats.truth)}
    line = entries(loaded, judged, source, chosen)[1]
    return line | {"machine": MACHINE, "cpu": cpu.name}
