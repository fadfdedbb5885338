"""Whether a Pi segments the same pixels as this machine: `fireseg-edge segment` on both, on the same images."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drift import FLOAT, entries, load
from benchmarks.ledger import Entry
from benchmarks.models import Family
from benchmarks.pi.instructions import MACHINE, OWN_ENVIRONMENT
from benchmarks.pi.system import BUILD, SHARED_DIR, Cpu, System
from benchmarks.soak.process import EDGE
from edge.console import OnStep
from train.data.fireseg import Pair
from train.data.sources import open_split
from train.data.splits import Split
from train.evaluation.evaluate import Masks, Predictions, evaluate

IMAGES = 50
THREADS = "1"


def compare_all(
    system: System, cpus: Sequence[Cpu], shipped: Sequence[Family], data: Path | None, on_step: OnStep
) -> Iterator[tuple[str, Entry]]:
    """Segment on every processor and here; yield a sentence, and the drift on the Pi as a line for the ledger."""
    source, split = open_split(data, None, 0, on_step)
    pairs = spread(split.test)
    subset = Split(f"{split.name}, {len(pairs)} of {len(split.test)}", split.train, pairs)
    done = on_step(f"segmenting {len(pairs)} images, {system.suite}", len(shipped) * (len(cpus) + 1))
    for family in shipped:
        model = family.shrunk["int8"]
        here = segment_here(model, pairs, BUILD / "masks-here")
        loaded = load(family)
        floats = evaluate(loaded.predictors[FLOAT], pairs)
        done()
        for cpu in cpus:
            inside = segment_inside(system, cpu, model, pairs)
            predictions = {FLOAT: floats, "int8": Predictions(floats.names, inside, floats.truth)}
            line = entries(loaded, predictions, source, subset)[1] | {"machine": MACHINE, "cpu": cpu.name}
            yield (
                (
                    f"{model.stem} on {cpu.name}, Debian {system.suite}, against this machine on {source.title}: "
                    f"{difference(here, inside)}; fire_iou {line['fire_iou']:.4f}, drift from the Keras float "
                    f"{line['fire_iou_drift'] * 100:+.2f} points, agreement {line['agreement']:.4f}"
                ),
                line,
            )
            done()


def spread(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return `IMAGES` evenly spaced pairs, or all if there are fewer."""
    step = max(1.0, len(pairs) / IMAGES)
    return tuple(pairs[int(index * step)] for index in range(min(IMAGES, len(pairs))))


def segment_here(model: Path, pairs: Sequence[Pair], out: Path) -> Masks:
    """Return the masks that the command writes on this machine."""
    shutil.rmtree(out, ignore_errors=True)
    command = [*EDGE, "segment", "--model", model, *(pair.image for pair in pairs), "--out", out, "--threads", THREADS]
    subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=True)
    return read_masks(out, pairs)


def segment_inside(system: System, cpu: Cpu, model: Path, pairs: Sequence[Pair]) -> Masks:
    """Return the masks that the installed command writes on the emulated processor."""
    folder = system.share([model, *(pair.image for pair in pairs)])
    system.run(
        cpu, f"{OWN_ENVIRONMENT}/bin/python", f"{OWN_ENVIRONMENT}/bin/fireseg-edge", "segment",
        "--model", f"{SHARED_DIR}/{model.name}", *(f"{SHARED_DIR}/{pair.image.name}" for pair in pairs),
        "--out", f"{SHARED_DIR}/masks", "--threads", THREADS,
    )  # fmt: skip
    return read_masks(folder / "masks", pairs)


def read_masks(folder: Path, pairs: Sequence[Pair]) -> Masks:
    """Return N x H x W booleans from NAME-mask.png."""
    return np.stack(
        [cv2.imread(str(folder / f"{pair.image.stem}-mask.png"), cv2.IMREAD_GRAYSCALE) > 0 for pair in pairs]
    )


def difference(a: Masks, b: Masks) -> str:
    """Say how many pixels and images differ between the masks of two machines."""
    differs = a != b
    if not differs.any():
        return f"all {len(a)} masks are identical"
    images = int(differs.any(axis=(1, 2)).sum())
    return f"{int(differs.sum())} of {differs.size:,} pixels differ, in {images} of {len(a)} masks"
