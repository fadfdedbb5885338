"""The main job: a Keras model in; float32, float16 and int8 out, each judged against it, and a gate at the end."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
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
from export.calibration import (
    CalibrationSet,
    assert_disjoint,
    candidates_from_folder,
    candidates_from_pairs,
    choose,
)
from export.convert import KINDS, Converted, Kind, Refining, convert
from export.drift import Drift, compare
from export.int8.refine import Steps
from export.pictures import draw_worst
from export.report import Gate, ModelRow, Report
from train.card import installed_versions
from train.data.fireseg import Pair, content_hash
from train.data.sources import DataSource
from train.data.splits import Split
from train.evaluation.evaluate import Predictions, evaluate, rounded
from train.evaluation.provenance import learnt_from
from train.model.io import KerasPredictor, Predictor, check_model_file, load_keras

MANIFEST_FILE = "calibration.json"


@dataclass(frozen=True)
class Options:
    """How to export. `threads` is what the models are timed with and refining computes on."""

    kinds: Sequence[Kind]
    calibration_count: int
    calibration_folder: Path | None
    seed: int
    steps: Steps
    threads: int

    def refining(self, float32: bytes) -> Refining:
        return Refining(float32, self.steps)


@dataclass(frozen=True)
class Exported:
    """A model's conversions, in memory."""

    model: keras.Model
    keras_path: Path
    keras_sha256: str
    learnt_from: dict[str, Any] | None
    """What the Keras model learnt from, by its own card."""
    calibration: CalibrationSet | None
    calibrated_on: Split | None
    """The split whose training images calibrated it; None for a folder of pictures."""
    converted: dict[Kind, Converted]
    options: Options


def export(keras_path: Path, split: Split | None, options: Options, on_step: OnStep) -> Exported:
    """Convert a model to each kind. `split` gives the calibration images, and may be None where int8 is not wanted."""
    check_model_file(keras_path)
    keras_sha256 = sha256(keras_path)  # of what is loaded: a running training may replace the file meanwhile
    learnt = learnt_from(keras_path)
    model = load_keras(keras_path)
    runtime = find_runtime("litert")
    _, height, width, _ = model.input_shape
    calibration = frames = None
    if "int8" in options.kinds:
        calibration = _calibration(split, options, on_step)
        frames = calibration.frames(height, width)
    wanted: list[Kind] = list(options.kinds)
    if "int8" in wanted and options.steps.any and "float32" not in wanted:
        wanted.append("float32")  # what the layers are refined towards
    converted: dict[Kind, Converted] = {}
    for kind in sorted(wanted, key=KINDS.index):
        refines = kind == "int8" and options.steps.any
        converted[kind] = convert(
            model,
            kind,
            runtime,
            calibration=frames if kind == "int8" else None,
            refining=options.refining(converted["float32"].flatbuffer) if refines else None,
            threads=options.threads,
            on_converted=on_step(f"converting to {kind}", 1),
            on_step=on_step,
        )
    converted = {kind: converted[kind] for kind in options.kinds}
    calibrated_on = split if calibration and not options.calibration_folder else None
    return Exported(model, keras_path, keras_sha256, learnt, calibration, calibrated_on, converted, options)


def write_models(
    exported: Exported, paths: dict[Kind, Path], measured: dict[Kind, dict[str, Any]] | None = None
) -> None:
    """Write each conversion with its card, and the calibration's manifest beside them."""
    for kind, converted in exported.converted.items():
        card = make_card(exported, kind, (measured or {}).get(kind))
        write_bytes(paths[kind], attach(converted.flatbuffer, card))
    if exported.calibration:
        write_json(next(iter(paths.values())).parent / MANIFEST_FILE, exported.calibration.manifest())


def make_card(exported: Exported, kind: Kind, measured: dict[str, Any] | None) -> Card:
    """What the file says of itself. `measured` is None where nothing has judged it yet."""
    model, calibration = exported.model, exported.calibration
    _, height, width, _ = model.input_shape
    named = re.fullmatch(r"unet_([a-z0-9]+)_([a-z]+)", model.name)  # as train.model.unet names its models
    encoder, decoder = named.groups() if named else ("unknown", "unknown")
    return {
        "format": CARD_FORMAT,
        "kind": kind,
        "input": {"height": height, "width": width, "layout": INPUT_LAYOUT, "range": INPUT_RANGE},
        "threshold": DEFAULT_THRESHOLD,
        "encoder": encoder,
        "decoder": decoder,
        "parameters": model.count_params(),
        "keras_sha256": exported.keras_sha256,
        "learnt_from": exported.learnt_from,
        "calibration": _calibration_card(exported, calibration) if kind == "int8" and calibration else None,
        "measured": measured,
        "versions": installed_versions(),
    }


def _calibration_card(exported: Exported, calibration: CalibrationSet) -> dict[str, Any]:
    return {
        "images": len(calibration.images),
        "sha256": calibration.sha256,
        "seed": calibration.seed,
        "split": exported.calibrated_on and exported.calibrated_on.name,
        "split_sha256": exported.calibrated_on and content_hash(exported.calibrated_on.train),
        "range_fitting": exported.options.steps.ranges,
        "weight_rounding": exported.options.steps.weights,
        "bias_correction": exported.options.steps.biases,
    }


def report(
    exported: Exported,
    source: DataSource,
    split: Split,
    paths: dict[Kind, Path],
    gate: Gate,
    threads: int,
    on_step: OnStep,
) -> tuple[Report, dict[str, Predictions]]:
    """Judge every conversion and the Keras model itself on the split's test images, and time them."""
    keras_predictor = KerasPredictor(exported.model)
    judgements = {"keras": _judge(keras_predictor, split.test, "keras", on_step)}
    latencies: dict[str, Latency] = {}
    drifts: dict[str, Drift] = {}
    # Of the model's own size: what a camera's frame costs to resize is the same for all of them.
    shape = (keras_predictor.height, keras_predictor.width, 3)
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder:
        predictors: dict[str, Predictor] = {"keras": keras_predictor}
        for kind, converted in exported.converted.items():
            path = Path(folder) / f"{kind}.tflite"
            path.write_bytes(attach(converted.flatbuffer, make_card(exported, kind, None)))
            predictors[kind] = Segmenter(path, threads=threads)
            judgements[kind] = _judge(predictors[kind], split.test, kind, on_step)
            drifts[kind] = compare(judgements["keras"], judgements[kind])
        done = on_step("timing", len(predictors))
        for name, predictor in predictors.items():
            latencies[name] = time_runs(lambda run=predictor: run(frame))  # type: ignore[misc]
            done()
    data = {
        "root": source.title if source.is_synthetic else source.dataset.root.name,
        "split": split.name,
        "images": len(split.test),
        "sha256": split.sha256,
    }
    write_models(
        exported, paths, {kind: _measured(data, judgements[kind], drifts[kind]) for kind in exported.converted}
    )
    keras_row = _row("keras", exported.keras_path, judgements["keras"], latencies["keras"])
    rows = [replace(keras_row, sha256=exported.keras_sha256)]
    for kind, converted in exported.converted.items():
        row = _row(kind, paths[kind], judgements[kind], latencies[kind])
        rows.append(replace(row, drift=drifts[kind], delegation=converted.delegation, refined=converted.refined))
    assert exported.calibration is not None
    title = f"{exported.keras_path.name} judged on {source.title}, split {split.name}, {len(split.test)} images"
    found = Report(data, title, exported.calibration, rows, gate, threads, cpu_name(), installed_versions())
    return found, judgements


def write_report(found: Report, judgements: dict[str, Predictions], split: Split, out: Path) -> None:
    """report.json, report.md, and the picture of the images whose int8 mask lies farthest from the float's."""
    write_json(out / "report.json", found.as_json())
    write_text(out / "report.md", found.as_markdown())
    draw_worst(out / "worst-drift.png", split.test, judgements["keras"], judgements["int8"])


def compare_halves(exported: Exported, split: Split, options: Options, on_step: OnStep) -> dict[str, Any]:
    """Calibrate on two disjoint halves: how far the two models differ tells whether the set is large enough."""
    calibration = exported.calibration
    if calibration is None or len(calibration.images) < 2:
        raise UserError("two halves need at least 2 calibration images", "raise --calibration-count")
    _, height, width, _ = exported.model.input_shape
    judgements = []
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder:
        for number, half in enumerate(calibration.halves(), start=1):
            converted = convert(
                exported.model,
                "int8",
                find_runtime("litert"),
                calibration=half.frames(height, width),
                refining=options.refining(exported.converted["float32"].flatbuffer) if options.steps.any else None,
                threads=options.threads,
                on_converted=on_step(f"converting half {number} to int8", 1),
                on_step=on_step,
            )
            path = Path(folder) / f"half-{number}.tflite"
            path.write_bytes(attach(converted.flatbuffer, make_card(exported, "int8", None)))
            judgements.append(_judge(Segmenter(path, threads=options.threads), split.test, f"half {number}", on_step))
    drift = compare(*judgements)
    return {
        "images": [len(half.images) for half in calibration.halves()],
        "fire_iou": [round(judgement.metrics["fire_iou"], 6) for judgement in judgements],
        "agreement": round(drift.agreement, 6),
    }


def _calibration(split: Split | None, options: Options, on_step: OnStep) -> CalibrationSet:
    if options.calibration_folder:
        candidates = candidates_from_folder(options.calibration_folder)
    elif split:
        done = on_step("reading training images", len(split.train))
        candidates = candidates_from_pairs(split.train, done)
    else:
        raise UserError("int8 needs calibration images", "pass --data DIR with training images")
    calibration = choose(candidates, options.calibration_count, options.seed)
    if split:
        assert_disjoint(calibration.images, split.test)
    return calibration


def _judge(predictor: Predictor, pairs: Sequence[Pair], name: str, on_step: OnStep) -> Predictions:
    return evaluate(predictor, pairs, on_step(f"judging {name}", len(pairs)))


def _row(name: str, path: Path, judgement: Predictions, latency: Latency) -> ModelRow:
    return ModelRow(name, path, path.stat().st_size, sha256(path), judgement.metrics, latency)


def _measured(data: dict[str, Any], judgement: Predictions, drift: Drift) -> dict[str, Any]:
    return {
        "data": data,
        **rounded(judgement.metrics),
        "drift": {
            "fire_iou": round(drift.metrics["fire_iou"], 4),
            "fire_iou_interval": list(np.round(drift.fire_iou_interval, 4).tolist()),
            "agreement": round(drift.agreement, 4),
        },
    }
