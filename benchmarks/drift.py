"""What a shipped model lost by shrinking, as lines of the ledger, and what is wrong with them."""

from __future__ import annotations

import os
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
from train.data.sources import FETCHED_DIR, SYNTHETIC_COUNT, SYNTHETIC_DIR, SYNTHETIC_SEED, DataSource, find_data
from train.data.splits import Split
from train.evaluation.evaluate import Predictions, evaluate, rounded
from train.model.io import KerasPredictor, Predictor, load_keras
from train.synthetic.generate import generate

FLOAT = "keras"
DIGITS = 5
THREADS = 1  # so that no order of additions depends on how many cores a machine has


@dataclass(frozen=True)
class Loaded:
    """A family's models, ready to judge: Keras' own first, float32 converted on the spot."""

    family: Family
    predictors: dict[str, Predictor]
    hashes: dict[str, str]
    runtimes: dict[str, str]

    def evaluate(self, pairs: Sequence[Pair]) -> dict[str, Predictions]:
        return {kind: evaluate(predictor, pairs) for kind, predictor in self.predictors.items()}


def load(family: Family) -> Loaded:
    """Load every model of a family. Takes the seconds that converting to float32 takes."""
    runtime = find_runtime()
    model = load_keras(family.keras)
    float32 = convert(model, "float32", find_runtime("litert")).flatbuffer
    predictors: dict[str, Predictor] = {FLOAT: KerasPredictor(model)}
    hashes = {FLOAT: sha256(family.keras)}
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*carries no card")
        path = Path(folder) / "float32.tflite"
        path.write_bytes(float32)
        for kind, file in {"float32": path, **family.shrunk}.items():
            predictors[kind] = Segmenter(file, threads=THREADS)
            hashes[kind] = sha256(file)
    versions = installed_versions()
    of_keras = f"keras {versions.get('keras')}, tensorflow {versions.get('tensorflow')}"
    return Loaded(family, predictors, hashes, {kind: of_keras if kind == FLOAT else str(runtime) for kind in hashes})


def entries(loaded: Loaded, judged: dict[str, Predictions], source: DataSource, split: Split) -> list[Entry]:
    """One line a model: the metrics, and for what was shrunk the difference to the float."""
    versions = {name: number for name, number in installed_versions().items() if name != "fireseg-edge"}
    stamped = stamp("drift", cpu_name())
    found = []
    for kind, judgement in judged.items():
        entry = stamped | {
            "model": loaded.family.name if kind == FLOAT else f"{loaded.family.name}-{kind}",
            "data": source.title,
            "split": split.name,
            "runtime": loaded.runtimes[kind],
            "model_sha256": loaded.hashes[kind],
            "keras_sha256": loaded.hashes[FLOAT],
            "data_sha256": split.sha256,
            "versions": versions,
            "images": len(split.test),
            **rounded(judgement.metrics, DIGITS),
        }
        if kind != FLOAT:
            drift = compare(judged[FLOAT], judgement)
            entry |= {
                "fire_iou_drift": round(drift.metrics["fire_iou"], DIGITS),
                "fire_iou_interval": [round(bound, DIGITS) for bound in drift.fire_iou_interval],
                "agreement": round(drift.agreement, DIGITS),
            }
        found.append(entry)
    return found


def gate_failures(entry: Entry, gate: Gate | None = None) -> list[str]:
    """Why a shrunk model lost too much, by the gate of the export; empty for what lost little, and for the float."""
    gate = gate or Gate()
    if "fire_iou_drift" not in entry:
        return []
    where = f"{entry['model']} on {entry['data']}, split {entry['split']}"
    found = []
    if -entry["fire_iou_drift"] > gate.max_drop:
        found.append(f"{where}: fire_iou drifted by {entry['fire_iou_drift']:+.4f}, the gate is {-gate.max_drop}")
    if entry["agreement"] < gate.min_agreement:
        found.append(f"{where}: agreement with the float is {entry['agreement']:.4f}, the gate is {gate.min_agreement}")
    return found


def fireseg_dir() -> Path | None:
    """Where FireSeg lies, if it does: FIRESEG_DIR, else where `fireseg-train fetch` puts it."""
    named = os.environ.get("FIRESEG_DIR")
    if named:
        return Path(named)
    return FETCHED_DIR if FETCHED_DIR.is_dir() else None


def synthetic() -> DataSource:
    """The painted set that every command takes where there is no FireSeg."""
    generate(SYNTHETIC_DIR, SYNTHETIC_COUNT, SYNTHETIC_SEED)
    return find_data(SYNTHETIC_DIR)
