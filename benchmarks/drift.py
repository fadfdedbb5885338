"""Drift of the shipped models from their Keras floats, as lines of the ledger, and its gate."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger import Entry, stamp
from benchmarks.models import Family
from edge.files import sha256
from edge.host.machine import cpu_name
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter
from export.convert import convert
from export.drift import compare
from export.report import Gate
from train.card import installed_versions
from train.data.fireseg import Pair
from train.data.sources import DataSource
from train.data.splits import Split
from train.evaluation.evaluate import Predictions, evaluate, rounded
from train.model.io import KerasPredictor, Predictor, load_keras

FLOAT = "keras"
DIGITS = 5
THREADS = 1  # the order of float additions must not depend on the number of cores


@dataclass(frozen=True)
class Loaded:
    """A family's models by kind: Keras first, float32 converted on the spot."""

    family: Family
    predictors: dict[str, Predictor]
    hashes: dict[str, str]
    runtimes: dict[str, str]

    def evaluate(self, pairs: Sequence[Pair]) -> dict[str, Predictions]:
        return {kind: evaluate(predictor, pairs) for kind, predictor in self.predictors.items()}


def load(family: Family) -> Loaded:
    """Load every model of a family. Converting to float32 takes seconds."""
    runtime = find_runtime()
    model = load_keras(family.keras)
    predictors: dict[str, Predictor] = {FLOAT: KerasPredictor(model)}
    hashes = {FLOAT: sha256(family.keras)}
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*carries no card")
        float32 = Path(folder) / "float32.tflite"
        float32.write_bytes(convert(model, "float32", find_runtime("litert")).flatbuffer)
        for kind, path in {"float32": float32, **family.shrunk}.items():
            predictors[kind] = Segmenter(path, threads=THREADS)
            hashes[kind] = sha256(path)
    versions = installed_versions()
    keras = f"keras {versions.get('keras')}, tensorflow {versions.get('tensorflow')}"
    return Loaded(family, predictors, hashes, {kind: keras if kind == FLOAT else str(runtime) for kind in hashes})


def entries(loaded: Loaded, predictions: dict[str, Predictions], source: DataSource, split: Split) -> list[Entry]:
    """Return one line per model: its metrics and, except for Keras, its drift and agreement."""
    versions = {name: number for name, number in installed_versions().items() if name != "fireseg-edge"}
    stamped = stamp("drift", cpu_name())
    lines = []
    for kind, of_kind in predictions.items():
        line = stamped | {
            "model": loaded.family.name if kind == FLOAT else f"{loaded.family.name}-{kind}",
            "data": source.title,
            "split": split.name,
            "runtime": loaded.runtimes[kind],
            "model_sha256": loaded.hashes[kind],
            "keras_sha256": loaded.hashes[FLOAT],
            "data_sha256": split.sha256,
            "versions": versions,
            "images": len(split.test),
            **rounded(of_kind.metrics, DIGITS),
        }
        if kind != FLOAT:
            drift = compare(predictions[FLOAT], of_kind).rounded(DIGITS)
            line |= {"fire_iou_drift": drift["fire_iou"]}
            line |= {name: drift[name] for name in ("fire_iou_interval", "agreement")}
        lines.append(line)
    return lines


def gate_failures(entry: Entry) -> list[str]:
    """Return a sentence for each gate of the export that a line fails; none for the Keras float."""
    if "fire_iou_drift" not in entry:
        return []
    name = f"{entry['model']} on {entry['data']}, split {entry['split']}"
    return Gate().failures(name, entry["fire_iou_drift"], entry["agreement"])
