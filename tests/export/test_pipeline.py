"""The export from a .keras file to artefacts, cards, report and plot: every number agrees with the others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.console import no_steps
from edge.errors import UserError
from edge.files import sha256
from edge.images import read_rgb, write_image
from edge.model.card import split_model
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_maps
from export.convert import KINDS, artefact_paths
from export.int8.refine import Refinement
from export.pipeline import MANIFEST_FILE, ExportOptions, export_all, export_models, make_card, write_artefacts
from export.report import Gate, Report
from train.data.fireseg import content_hash
from train.data.sources import find_data
from train.data.splits import Split
from train.evaluation.evaluate import evaluate

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.slow

OPTIONS = ExportOptions(KINDS, 7, None, 5, Refinement(), threads=2)

Step = tuple[str, int, list[None]]


@dataclass(frozen=True)
class Job:
    """A finished export of the toy."""

    report: Report
    out: Path
    steps: list[Step]
    json: dict[str, Any]


@pytest.fixture(scope="module")
def job(toy_keras: Path, synthetic_dir: Path, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Job:
    out = tmp_path_factory.mktemp("export")
    steps: list[Step] = []

    def on_step(description: str, total: int) -> Callable[[], None]:
        calls: list[None] = []
        steps.append((description, total, calls))
        return lambda: calls.append(None)

    report = export_all(toy_keras, find_data(synthetic_dir), split, OPTIONS, Gate(1.0, 0.0), out, on_step)
    return Job(report, out, steps, json.loads((out / "report.json").read_text()))


def test_every_artefact_is_written_and_nothing_else(job: Job) -> None:
    models = {f"fireseg-{kind}.tflite" for kind in KINDS}
    others = {"calibration.json", "report.json", "report.md", "worst-drift.png"}
    assert {path.name for path in job.out.iterdir()} == models | others
    assert read_rgb(job.out / "worst-drift.png").shape[2] == 3


def test_the_cards_agree_with_the_report(job: Job, toy_keras: Path, split: Split) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    for kind, path in artefact_paths(job.out).items():
        _, card = split_model(path)
        assert card is not None
        assert card["kind"] == kind
        assert (card["encoder"], card["decoder"]) == ("toy", "transposed")
        assert card["keras_sha256"] == sha256(toy_keras) == rows["keras"]["sha256"]
        assert card["input"] == {"height": 64, "width": 64, "layout": "RGB", "range": [0, 255]}
        assert check_maps(Segmenter(path, threads=1)).startswith("self-test passed")
        assert card["flatbuffer_sha256"] == hashlib.sha256(split_model(path)[0]).hexdigest()
        measured, row, drift = card["measured"], rows[kind], job.json["drift"][kind]
        assert measured["data"] == job.json["data"]
        assert measured["data"]["sha256"] == split.sha256
        for metric in ("fire_iou", "mean_iou", "fire_iou_per_image", "accuracy", "precision", "recall"):
            assert measured[metric] == pytest.approx(row[metric], abs=5.1e-5)
        assert measured["drift"]["fire_iou"] == pytest.approx(drift["fire_iou"], abs=5.1e-5)
        assert measured["drift"]["fire_iou_interval"] == pytest.approx(drift["fire_iou_interval"], abs=5.1e-5)
        assert measured["drift"]["agreement"] == pytest.approx(row["agreement"], abs=5.1e-5)


def test_the_report_has_each_files_size_and_hash(job: Job, toy_keras: Path) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    assert list(rows) == ["keras", *KINDS]
    for name, path in [("keras", toy_keras), *artefact_paths(job.out).items()]:
        assert rows[name]["path"] == str(path)
        assert rows[name]["size_bytes"] == path.stat().st_size
        assert rows[name]["sha256"] == sha256(path)
        assert rows[name]["latency"]["runs"] >= 50


def test_manifest_card_and_report_describe_one_calibration_set(job: Job, split: Split) -> None:
    manifest = json.loads((job.out / MANIFEST_FILE).read_text())
    _, card = split_model(artefact_paths(job.out)["int8"])
    assert card is not None
    calibration = card["calibration"]
    assert calibration["sha256"] == manifest["sha256"] == job.json["calibration"]["sha256"]
    assert (calibration["split"], calibration["split_sha256"]) == ("official", content_hash(split.train))
    assert calibration["images"] == manifest["images"] == len(manifest["files"]) == 7
    assert calibration["seed"] == manifest["seed"] == 5
    assert (calibration["weight_rounding"], calibration["bias_correction"]) == (True, True)
    test_hashes = {sha256(pair.image) for pair in split.test}
    assert test_hashes.isdisjoint(row["sha256"] for row in manifest["files"])
    assert calibration["equalization"]
    others = [split_model(artefact_paths(job.out)[kind])[1] for kind in ("float32", "float16")]
    # float32 is equalized too, so that `layers` can compare it with int8.
    assert [other and other["calibration"] for other in others] == [
        {key: value for key, value in calibration.items() if key not in ("weight_rounding", "bias_correction")},
        None,
    ]


def test_evaluating_the_written_file_again_gives_the_reports_metrics(job: Job, split: Split) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    again = evaluate(Segmenter(artefact_paths(job.out)["int8"], threads=1), split.test)
    assert again.metrics["fire_iou"] == pytest.approx(rows["int8"]["fire_iou"], abs=1e-6)
    assert again.metrics["accuracy"] == pytest.approx(rows["int8"]["accuracy"], abs=1e-6)
    assert (rows["keras"]["agreement"], rows["float32"]["agreement"] > 0.999) == (1, True)


def test_synthetic_data_is_named_in_every_title(job: Job) -> None:
    assert "SYNTHETIC" in job.report.title
    assert "SYNTHETIC" in job.json["data"]["root"]
    text = (job.out / "report.md").read_text()
    assert text.startswith("# toy.keras evaluated on SYNTHETIC data, not FireSeg")
    for row in ("keras", *KINDS):
        assert f"\n| {row} | " in text


def test_every_step_is_announced_and_completed(job: Job) -> None:
    first = ["reading training images", "converting to float32", "converting to float16"]
    assert [description for description, _, _ in job.steps][:3] == first
    for description, total, calls in job.steps:
        assert len(calls) == total, description


def test_int8_alone_is_the_int8_of_a_whole_export(job: Job, toy_keras: Path, split: Split, tmp_path: Path) -> None:
    alone = export_models(toy_keras, split, replace(OPTIONS, kinds=("int8",), threads=1), no_steps)
    assert list(alone.converted) == ["int8"]
    paths = write_artefacts(alone, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"fireseg-int8.tflite", MANIFEST_FILE}
    flatbuffer, card = split_model(paths["int8"])
    assert flatbuffer == split_model(artefact_paths(job.out)["int8"])[0]
    assert card is not None
    assert card["measured"] is None


def test_the_card_has_the_training_sets_of_the_keras_model(toy_keras: Path, tmp_path: Path) -> None:
    path, options = tmp_path / "best.keras", replace(OPTIONS, kinds=["float32"])
    shutil.copy(toy_keras, path)
    data = {"split": "official", "sets": [{"title": "barns", "images": 3, "sha256": "ab"}]}
    path.with_suffix(".json").write_text(json.dumps({"sha256": sha256(path), "data": data}))
    exported = export_models(path, None, options, no_steps)
    path.unlink()  # as a running training might
    assert make_card(exported, "float32", None)["learnt_from"] == data
    without = replace(exported, trained_on=None)
    assert make_card(without, "float32", None)["learnt_from"] is None


def test_equalization_changes_int8_and_its_float32_but_not_float16(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "linear.keras"
    sequential_with_a_linear_tensor().save(path)
    plain = replace(OPTIONS, refinement=Refinement(weight_rounding=False, bias_correction=False))
    before, after = (
        export_models(path, split, replace(plain, equalization=is_on), no_steps) for is_on in (False, True)
    )
    changed = [kind for kind in KINDS if before.converted[kind].flatbuffer != after.converted[kind].flatbuffer]
    assert changed == ["float32", "int8"]
    calibrated = [[kind for kind in KINDS if make_card(each, kind, None)["calibration"]] for each in (before, after)]
    assert calibrated == [["int8"], ["float32", "int8"]]


def sequential_with_a_linear_tensor() -> keras.Model:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    uneven = keras.initializers.RandomUniform(0.2, 3)
    stack: list[Any] = [keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5)]
    for filters in (8, 4, 8):
        stack += [layers.Conv2D(filters, 1, use_bias=False), layers.BatchNormalization(gamma_initializer=uneven)]
        stack += [] if filters == 4 else [layers.ReLU(6)]
    return keras.Sequential([*stack, layers.Conv2D(1, 1, activation="sigmoid")])


def test_a_calibration_folder_is_not_recorded_as_a_split(toy_keras: Path, split: Split, tmp_path: Path) -> None:
    for number in range(7):
        write_image(tmp_path / f"{number}.png", np.full((20, 20, 3), 30 * number, np.uint8))
    plain = Refinement(weight_rounding=False, bias_correction=False)
    options = replace(OPTIONS, kinds=["int8"], calibration_folder=tmp_path, refinement=plain, equalization=False)
    calibration = make_card(export_models(toy_keras, split, options, no_steps), "int8", None)["calibration"]
    assert not calibration["equalization"]
    assert (calibration["images"], calibration["split"], calibration["split_sha256"]) == (7, None, None)
    assert (calibration["weight_rounding"], calibration["bias_correction"]) == (False, False)


def test_int8_without_any_images_is_refused(toy_keras: Path) -> None:
    with pytest.raises(UserError, match="int8 needs calibration images: pass --data"):
        export_models(toy_keras, None, OPTIONS, no_steps)
