"""The export: a Keras model in; float32, float16 and int8 TFLite out, each evaluated against it, with a report.

`export_all` is the whole job: `export_models`, `evaluate_models`, `write_artefacts`, and the report.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.console import OnStep
from edge.errors import UserError
from edge.files import sha256, write_bytes, write_json, write_text
from edge.host.machine import cpu_name
from edge.model.card import CARD_FORMAT, INPUT_LAYOUT, INPUT_RANGE, Card, attach
from edge.model.latency import Latency, time_runs
from edge.model.runtime import find_runtime
from edge.model.segmenter import DEFAULT_THRESHOLD, Segmenter
from export.calibration import CalibrationSet, assert_disjoint, candidates_from_folder, candidates_from_pairs, choose
from export.convert import KINDS, Converted, Kind, artefact_paths, convert
from export.drift import Drift, compare
from export.drift_plot import plot_worst
from export.fine_tuning import FineTuning, compare_with_start
from export.int8.equalize import equalize
from export.int8.refine import Refinement
from export.report import Gate, ModelRow, Report
from export.self_test import with_self_test
from train.card import installed_versions
from train.data.fireseg import Pair, content_hash, printable_name
from train.data.sources import DataSource
from train.data.splits import Split
from train.evaluation.evaluate import Predictions, evaluate, rounded
from train.evaluation.provenance import learnt_from
from train.model.io import KerasPredictor, Predictor, check_keras_file, load_keras

Measured = Mapping[Kind, dict[str, Any]]
MANIFEST_FILE = "calibration.json"
KERAS = "keras"
"""Name of the Keras model among the models evaluated."""


@dataclass(frozen=True)
class ExportOptions:
    """How to export. `threads` is for refinement and for timing. `equalization` is off only for comparison."""

    kinds: Sequence[Kind]
    calibration_count: int
    calibration_folder: Path | None
    seed: int
    refinement: Refinement
    threads: int
    equalization: bool = True


@dataclass(frozen=True)
class Exported:
    """A model's conversions, in memory."""

    model: keras.Model
    keras_path: Path
    keras_sha256: str
    trained_on: dict[str, Any] | None
    """The training sets of the Keras model, by its card."""
    calibration: CalibrationSet | None
    calibrated_on: Split | None
    """The split whose training images calibrated int8; None for a folder of images."""
    converted: dict[Kind, Converted]
    options: ExportOptions


@dataclass(frozen=True)
class Evaluated:
    """One model's results on the test images; `drift` is None for the Keras model."""

    predictions: Predictions
    latency: Latency
    drift: Drift | None


def export_all(
    keras_path: Path,
    source: DataSource,
    split: Split,
    options: ExportOptions,
    gate: Gate,
    out: Path,
    on_step: OnStep,
) -> Report:
    """Convert, evaluate on the split's test images, write models and report into `out`, and return the report.

    Example:
        >>> source, split = open_split(Path("data/fireseg"), None, 0, no_steps)
        >>> options = ExportOptions(KINDS, 200, None, 0, Refinement(), threads=4)
        >>> report = export_all(Path("best.keras"), source, split, options, Gate(), Path("build/export"), no_steps)
    """
    exported = export_models(keras_path, split, options, on_step)
    evaluated = evaluate_models(exported, split.test, on_step)
    data = {
        "root": source.title if source.is_synthetic else printable_name(source.dataset.root.name),
        "split": split.name,
        "images": len(split.test),
        "sha256": split.sha256,
    }
    paths = write_artefacts(exported, out, {kind: _measured(data, evaluated[kind]) for kind in options.kinds})
    title = (
        f"{printable_name(keras_path.name)} evaluated on {source.title}, split {split.name}, {len(split.test)} images"
    )
    fine_tuning = compare_with_start(keras_path, split, evaluated[KERAS].predictions.metrics["fire_iou"])
    report = make_report(exported, evaluated, paths, data, title, gate, fine_tuning)
    write_json(out / "report.json", report.as_json())
    write_text(out / "report.md", report.as_markdown())
    plot_worst(out / "worst-drift.png", split.test, evaluated[KERAS].predictions, evaluated["int8"].predictions)
    return report


def export_models(keras_path: Path, split: Split | None, options: ExportOptions, on_step: OnStep) -> Exported:
    """Convert a model to each kind of `options`. `split` provides the calibration images; None if int8 needs none."""
    check_keras_file(keras_path)
    keras_sha256 = sha256(keras_path)  # of the file loaded: a running training may replace it meanwhile
    trained_on = learnt_from(keras_path)
    model = load_keras(keras_path)
    runtime = find_runtime("litert")
    kinds = set(options.kinds)
    calibration = frames = None
    if "int8" in kinds:
        calibration = _choose_calibration(split, options, on_step)
        frames = calibration.frames(*model.input_shape[1:3])
        if options.refinement.any:
            kinds.add("float32")  # the reference of the refinement
    # int8 is refined towards float32 per tensor, so both are converted from the equalized network.
    equalized = model if frames is None or not options.equalization else equalize(model, frames)
    converted: dict[Kind, Converted] = {}
    for kind in (kind for kind in KINDS if kind in kinds):
        float32 = converted["float32"].flatbuffer if "float32" in converted else None
        converted[kind] = convert(
            model if kind == "float16" else equalized, kind, runtime, calibration=frames, float32=float32,
            refinement=options.refinement, threads=options.threads, on_step=on_step,
        )  # fmt: skip
    converted = {kind: converted[kind] for kind in options.kinds}
    calibrated_on = split if calibration and not options.calibration_folder else None
    return Exported(model, keras_path, keras_sha256, trained_on, calibration, calibrated_on, converted, options)


def evaluate_models(exported: Exported, test: Sequence[Pair], on_step: OnStep) -> dict[str, Evaluated]:
    """Evaluate and time the Keras model and every conversion, by name, and compare each conversion with it."""
    reference = KerasPredictor(exported.model)
    threads = exported.options.threads
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder:
        predictors: dict[str, Predictor] = {KERAS: reference}
        for kind, converted in exported.converted.items():
            path = Path(folder) / f"{kind}.tflite"
            path.write_bytes(attach(converted.flatbuffer, make_card(exported, kind, None)))
            predictors[kind] = Segmenter(path, threads=threads)
        predictions = {
            name: evaluate(predictor, test, on_step(f"evaluating {name}", len(test)))
            for name, predictor in predictors.items()
        }
        done = on_step("timing", len(predictors))
        # Model-sized: resizing a camera frame costs every model the same.
        frame = np.random.default_rng(0).integers(0, 256, (reference.height, reference.width, 3), np.uint8)
        latencies: dict[str, Latency] = {}
        for name, predictor in predictors.items():
            latencies[name] = time_runs(lambda run=predictor: run(frame))  # type: ignore[misc]
            done()
    drifts = {name: compare(predictions[KERAS], of_kind) for name, of_kind in predictions.items() if name != KERAS}
    return {name: Evaluated(predictions[name], latencies[name], drifts.get(name)) for name in predictors}


def write_artefacts(exported: Exported, out: Path, measured: Measured | None = None) -> dict[Kind, Path]:
    """Write each conversion with its card, and the calibration manifest, into `out`; return the models' paths."""
    paths = artefact_paths(out, list(exported.converted))
    for kind, path in paths.items():
        flatbuffer, card = exported.converted[kind].flatbuffer, make_card(exported, kind, (measured or {}).get(kind))
        write_bytes(path, attach(flatbuffer, with_self_test(path, flatbuffer, card)))
    if exported.calibration:
        write_json(out / MANIFEST_FILE, exported.calibration.manifest())
    return paths


def make_card(exported: Exported, kind: Kind, measured: dict[str, Any] | None) -> Card:
    """Return the card of one conversion. `measured` is None if it has not been evaluated."""
    model, calibration, split = exported.model, None, exported.calibrated_on
    is_calibrated = kind == "int8" or (kind == "float32" and exported.options.equalization)
    if is_calibrated and exported.calibration:
        calibration = {
            "images": len(exported.calibration.images),
            "sha256": exported.calibration.sha256,
            "seed": exported.calibration.seed,
            "split": split and split.name,
            "split_sha256": split and content_hash(split.train),
            "equalization": exported.options.equalization,
        }
    if kind == "int8" and calibration:
        refinement = exported.options.refinement
        calibration["weight_rounding"] = refinement.weight_rounding
        calibration["bias_correction"] = refinement.bias_correction
    _, height, width, _ = model.input_shape
    match = re.fullmatch(r"unet_([a-z0-9]+)_([a-z]+)", model.name)  # as train.model.unet names its models
    encoder, decoder = match.groups() if match else ("unknown", "unknown")
    return {
        "format": CARD_FORMAT,
        "kind": kind,
        "input": {"height": height, "width": width, "layout": INPUT_LAYOUT, "range": INPUT_RANGE},
        "threshold": DEFAULT_THRESHOLD,
        "encoder": encoder,
        "decoder": decoder,
        "parameters": model.count_params(),
        "keras_sha256": exported.keras_sha256,
        "learnt_from": exported.trained_on,
        "calibration": calibration,
        "measured": measured,
        "versions": installed_versions(),
    }


def make_report(
    exported: Exported,
    evaluated: Mapping[str, Evaluated],
    paths: Mapping[Kind, Path],
    data: dict[str, Any],
    title: str,
    gate: Gate,
    fine_tuning: FineTuning | None,
) -> Report:
    """Return the report on the files at `paths`, which must be written."""
    assert exported.calibration is not None
    rows = [_row(KERAS, exported.keras_path, exported.keras_sha256, evaluated[KERAS])]
    for kind, path in paths.items():
        converted = exported.converted[kind]
        row = _row(kind, path, sha256(path), evaluated[kind])
        rows.append(replace(row, delegation=converted.delegation, refined=converted.refined))
    threads, versions = exported.options.threads, installed_versions()
    return Report(data, title, exported.calibration, rows, gate, threads, cpu_name(), versions, fine_tuning)


def _choose_calibration(split: Split | None, options: ExportOptions, on_step: OnStep) -> CalibrationSet:
    if options.calibration_folder:
        candidates = candidates_from_folder(options.calibration_folder)
    elif split:
        candidates = candidates_from_pairs(split.train, on_step("reading training images", len(split.train)))
    else:
        raise UserError("int8 needs calibration images", "pass --data DIR with training images")
    calibration = choose(candidates, options.calibration_count, options.seed)
    if split:
        assert_disjoint(calibration.images, split.test)
    return calibration


def _row(name: str, path: Path, digest: str, evaluated: Evaluated) -> ModelRow:
    size_bytes, metrics = path.stat().st_size, evaluated.predictions.metrics
    return ModelRow(name, path, size_bytes, digest, metrics, evaluated.latency, evaluated.drift)


def _measured(data: dict[str, Any], evaluated: Evaluated) -> dict[str, Any]:
    assert evaluated.drift is not None
    drift = evaluated.drift.rounded(4)
    shown = {key: drift[key] for key in ("fire_iou", "fire_iou_interval", "agreement")}
    return {"data": data, **rounded(evaluated.predictions.metrics), "drift": shown}
