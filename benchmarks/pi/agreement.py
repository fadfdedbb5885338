"""Whether a Pi segments the same pixels as this machine: `fireseg-edge segment` on both, on the same images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.drift import FLOAT, Loaded, entries, load
from benchmarks.ledger import Entry
from benchmarks.models import Family
from benchmarks.pi.instructions import MACHINE, OWN_ENVIRONMENT
from benchmarks.pi.system import BUILD, SHARED_DIR, Cpu, System, last_line
from edge.console import OnStep
from edge.errors import UserError
from train.data.fireseg import Pair
from train.data.sources import DataSource, open_split
from train.data.splits import Split
from train.evaluation.evaluate import Masks, Predictions, evaluate

IMAGES = 50
THREADS = "1"


@dataclass(frozen=True)
class Agreement:
    """Comparison of the masks that two machines made."""

    images: int
    differing_images: int
    differing_pixels: int
    pixels: int

    def __str__(self) -> str:
        if not self.differing_pixels:
            return f"all {self.images} masks are identical"
        masks = f"{self.differing_images} of {self.images} masks"
        return f"{self.differing_pixels} of {self.pixels:,} pixels differ, in {masks}"


def compare_all(
    system: System, cpus: Sequence[Cpu], shipped: Sequence[Family], data: Path | None, on_step: OnStep
) -> Iterator[tuple[dict[str, Any], Entry]]:
    """Segment on every processor and here; yield a row for the report and a line for the ledger."""
    source, split = open_split(data, None, 0, on_step)
    pairs = spread(split.test)
    done = on_step(f"segmenting {len(pairs)} images, {system.suite}", len(shipped) * (len(cpus) + 1))
    for family in shipped:
        model = family.shrunk["int8"]
        here = segment_here(model, pairs, BUILD / "masks-here")
        done()
        loaded = load(family)
        for cpu in cpus:
            inside = segment_inside(system, cpu, model, pairs)
            agreement = compare_masks(here, inside)
            line = ledger_line(loaded, "int8", inside, pairs, source, split, cpu)
            yield {
                "model": model.stem, "cpu": cpu.name, "debian": system.suite, "data": source.title,
                **asdict(agreement), "summary": str(agreement),
                "fire_iou": line["fire_iou"], "fire_iou_drift": line["fire_iou_drift"],
                "agreement_with_float": line["agreement"],
            }, line  # fmt: skip
            done()


def spread(pairs: Sequence[Pair], count: int = IMAGES) -> tuple[Pair, ...]:
    """Return `count` evenly spaced pairs, or all if there are fewer."""
    step = max(1.0, len(pairs) / count)
    return tuple(pairs[int(index * step)] for index in range(min(count, len(pairs))))


def segment_here(model: Path, pairs: Sequence[Pair], out: Path) -> Masks:
    """Return the masks that the command writes on this machine."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", "from edge.cli import run; run()", "segment", str(model)]
    options = ["--out", str(out), "--threads", THREADS]
    done = subprocess.run(
        [*command, *(str(pair.image) for pair in pairs), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError("fireseg-edge segment failed here", last_line(done))
    return read_masks(out, pairs)


def segment_inside(system: System, cpu: Cpu, model: Path, pairs: Sequence[Pair]) -> Masks:
    """Return the masks that the installed command writes on the emulated processor."""
    folder = system.share([model, *(pair.image for pair in pairs)])
    inside = system.environment(OWN_ENVIRONMENT)
    output = system.run_checked(
        cpu, f"{inside}/bin/python", f"{inside}/bin/fireseg-edge", "segment", f"{SHARED_DIR}/{model.name}",
        *(f"{SHARED_DIR}/{pair.image.name}" for pair in pairs),
        "--out", f"{SHARED_DIR}/masks", "--threads", THREADS, "--json",
    )  # fmt: skip
    json.loads(output)  # complete output
    return read_masks(folder / "masks", pairs)


def read_masks(folder: Path, pairs: Sequence[Pair]) -> Masks:
    """Return N x H x W booleans from NAME-mask.png."""
    return np.stack(
        [cv2.imread(str(folder / f"{pair.image.stem}-mask.png"), cv2.IMREAD_GRAYSCALE) > 0 for pair in pairs]
    )


def compare_masks(a: Masks, b: Masks) -> Agreement:
    """Count differing pixels and images. Raise ValueError for different shapes."""
    if a.shape != b.shape:
        raise ValueError(f"masks of shape {a.shape} and {b.shape} cannot be compared")
    differs = a != b
    return Agreement(len(a), int(differs.any(axis=(1, 2)).sum()), int(differs.sum()), differs.size)


def ledger_line(
    loaded: Loaded, kind: str, inside: Masks, pairs: Sequence[Pair], source: DataSource, split: Split, cpu: Cpu
) -> Entry:
    """Return the drift on the Pi: masks made inside against those of the Keras float made here."""
    subset = Split(f"{split.name}, {len(pairs)} of {len(split.test)}", split.train, tuple(pairs))
    floats = evaluate(loaded.predictors[FLOAT], pairs)
    predictions = {FLOAT: floats, kind: Predictions(floats.names, inside, floats.truth)}
    return entries(loaded, predictions, source, subset)[1] | {"machine": MACHINE, "cpu": cpu.name}
