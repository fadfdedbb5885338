"""Alarms of the shipped models on recordings, as lines of the ledger, and which alarms a change has lost."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ledger import Entry, last, series_of, stamp
from edge.evaluation.evaluate import Evaluation
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.sensitivity import SIZES, Sensitivity
from edge.evaluation.tables import score_json
from edge.files import sha256
from edge.host.machine import cpu_name
from edge.model.runtime import find_runtime

KIND = "events"
DATA = "events.csv"
VERSIONS = ("ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless")


def score_entries(evaluation: Evaluation, model: Path, data_sha256: str) -> list[Entry]:
    """Return one line for each frame rate.

    `delays_s` has one item per fire in the order of the list, None for a missed one; `false_alarms_of` one item per
    other recording. Recordings appear by position only: their names belong to their owner.
    """
    lines = []
    for fps in evaluation.plan.rates:
        outcomes = [outcome for outcome in evaluation.outcomes(fps=fps) if outcome.recording.label != Label.ANY]
        delays_s = [outcome.delay_s for outcome in outcomes if outcome.has_fire]
        lines.append(
            _stamped(model, f"{fps:g} fps", data_sha256)
            | score_json(evaluation.score(fps=fps))
            | {"delays_s": [delay_s if delay_s is None else round(delay_s, 3) for delay_s in delays_s]}
            | {"false_alarms_of": [len(outcome.false_alarms_s) for outcome in outcomes if not outcome.has_fire]}
        )
    return lines


def sensitivity_entry(sensitivity: Sensitivity, model: Path, data_sha256: str) -> Entry:
    """Return the line of the sensitivity: the share of tries that alarm, by size, and the smallest detected size."""
    shares = {f"share_at_{100 * size:g}_percent": round(share, 5) for size, share in sensitivity.shares.items()}
    return _stamped(model, f"flames at {sensitivity.fps:g} fps", data_sha256) | {
        "smallest": sensitivity.smallest,
        "scenes": len(sensitivity.measured),
        **shares,
    }


def lost(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Return a sentence for each alarm that the newest line of the series on the same recordings has and this lacks."""
    before = last(entries, **series_of(entry), data_sha256=entry["data_sha256"])
    if before is None:
        return []
    name = f"{entry['model']}, {entry['split']}"
    pairs = zip(before.get("delays_s", ()), entry.get("delays_s", ()), strict=True)
    sentences = [
        f"{name}: fire {number} had an alarm after {old:g} s on {before['date']} and is missed"
        for number, (old, new) in enumerate(pairs, start=1)
        if old is not None and new is None
    ]
    largest = SIZES[-1] + 1  # stands for none
    if (entry.get("smallest") or largest) > (before.get("smallest") or largest):
        sentences.append(f"{name}: the smallest flame grew from {before['smallest']} to {entry['smallest']}")
    return sentences


def hash_of(recordings: Sequence[Recording]) -> str:
    """Return a hash of recordings and labels, independent of file names."""
    digest = hashlib.sha256()
    for each in recordings:
        digest.update(f"{sha256(each.path)} {each.label} {each.fire_from_s} {each.fire_to_s}\n".encode())
    return digest.hexdigest()


def _stamped(model: Path, split: str, data_sha256: str) -> Entry:
    versions = {package: version for package in VERSIONS if (version := _version(package))}
    return stamp(KIND, cpu_name()) | {
        "model": model.stem,
        "data": DATA,
        "split": split,
        "runtime": str(find_runtime()),
        "model_sha256": sha256(model),
        "data_sha256": data_sha256,
        "versions": versions,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
