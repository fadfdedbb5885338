"""The main job from a .keras file to artefacts, report and picture: every figure in one place is that of the others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import read_rgb, write_image
from edge.model.card import split_model
from edge.model.segmenter import Segmenter
from export.convert import KINDS, Kind, artefact_paths
from export.int8.refine import Steps
from export.pipeline import (
    MANIFEST_FILE,
    Exported,
    Options,
    compare_halves,
    export,
    make_card,
    report,
    write_models,
    write_report,
)
from export.report import Gate, Report
from train.data.fireseg import content_hash
from train.data.sources import find_data
from train.data.splits import Split
from train.evaluation.evaluate import evaluate

Step = tuple[str, int, list[None]]


def no_step(description: str, total: int) -> Callable[[], None]:
    return lambda: None


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Job:
    """A finished export of the small U-Net."""

    found: Report
    split: Split
    out: Path
    steps: list[Step]

    @property
    def json(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.out / "report.json").read_text())
        return loaded


@pytest.fixture(scope="module")
def job(
    exported: tuple[Exported, list[Step]],
    options: Options,
    synthetic_dir: Path,
    split: Split,
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    out = tmp_path_factory.mktemp("export")
    made, steps = exported

    def on_step(description: str, total: int) -> Callable[[], None]:
        told: list[None] = []
        steps.append((description, total, told))
        return lambda: told.append(None)

    found, judgements = report(
        made, find_data(synthetic_dir), split, artefact_paths(out), Gate(1.0, 0.0), options.threads, on_step
    )
    write_report(found, judgements, split, out)
    return Job(found, split, out, steps)


@pytest.fixture
def toy_options(options: Options) -> Options:
    return replace(options, steps=Steps(), calibration_count=7)


@pytest.mark.slow
def test_every_file_is_written_and_nothing_else(job: Job) -> None:
    assert {path.name for path in job.out.iterdir()} == {
        "fireseg-float32.tflite",
        "fireseg-float16.tflite",
        "fireseg-int8.tflite",
        "calibration.json",
        "report.json",
        "report.md",
        "worst-drift.png",
    }
    assert read_rgb(job.out / "worst-drift.png").shape[2] == 3


@pytest.mark.slow
def test_the_cards_say_what_the_report_says(job: Job, keras_path: Path, split: Split) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    for kind, path in artefact_paths(job.out).items():
        _, card = split_model(path)
        assert card is not None
        assert card["kind"] == kind
        assert (card["encoder"], card["decoder"]) == ("mobilenetv2", "separable")
        assert card["keras_sha256"] == sha256(keras_path) == rows["keras"]["sha256"]
        assert card["input"] == {"height": 64, "width": 64, "layout": "RGB", "range": [0, 255]}
        measured, row, drift = card["measured"], rows[kind], job.json["drift"][kind]
        assert measured["data"] == job.json["data"]
        assert measured["data"]["sha256"] == split.sha256
        for metric in ("fire_iou", "mean_iou", "fire_iou_per_image", "accuracy", "precision", "recall"):
            assert measured[metric] == pytest.approx(row[metric], abs=5.1e-5)
        assert measured["drift"]["fire_iou"] == pytest.approx(drift["fire_iou"], abs=5.1e-5)
        assert measured["drift"]["fire_iou_interval"] == pytest.approx(drift["fire_iou_interval"], abs=5.1e-5)
        assert measured["drift"]["agreement"] == pytest.approx(row["agreement"], abs=5.1e-5)


@pytest.mark.slow
def test_the_report_knows_each_file_by_size_and_hash(job: Job, keras_path: Path) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    assert list(rows) == ["keras", *KINDS]
    for name, path in [("keras", keras_path), *artefact_paths(job.out).items()]:
        assert rows[name]["path"] == str(path)
        assert rows[name]["size_bytes"] == path.stat().st_size
        assert rows[name]["sha256"] == sha256(path)
        assert rows[name]["latency"]["runs"] >= 50


@pytest.mark.slow
def test_the_manifest_the_card_and_the_report_speak_of_one_calibration_set(job: Job) -> None:
    manifest = json.loads((job.out / MANIFEST_FILE).read_text())
    _, card = split_model(artefact_paths(job.out)["int8"])
    assert card is not None
    assert card["calibration"]["sha256"] == manifest["sha256"] == job.json["calibration"]["sha256"]
    assert card["calibration"]["split"] == "official"
    assert card["calibration"]["split_sha256"] == content_hash(job.split.train)
    assert card["calibration"]["images"] == manifest["images"] == len(manifest["files"]) == 12
    assert card["calibration"]["seed"] == manifest["seed"] == 5
    judging = {sha256(pair.image) for pair in job.split.test}
    assert judging.isdisjoint(row["sha256"] for row in manifest["files"])
    _, other = split_model(artefact_paths(job.out)["float16"])
    assert other is not None
    assert other["calibration"] is None


def test_the_card_says_what_the_keras_model_learnt_from(
    toy_keras: Path, split: Split, toy_options: Options, tmp_path: Path
) -> None:
    path = tmp_path / "best.keras"
    shutil.copy(toy_keras, path)
    data = {"split": "official", "sets": [{"title": "barns", "images": 3, "sha256": "ab"}]}
    path.with_suffix(".json").write_text(json.dumps({"sha256": sha256(path), "data": data}))
    made = export(path, split, replace(toy_options, kinds=["float16"]), no_step)
    path.unlink()  # as a running training might
    assert make_card(made, "float16", None)["learnt_from"] == data
    without = export(toy_keras, split, replace(toy_options, kinds=["float16"]), no_step)
    assert make_card(without, "float16", None)["learnt_from"] is None


def test_pictures_of_ones_own_are_not_told_as_a_splits(
    toy_keras: Path, split: Split, toy_options: Options, tmp_path: Path
) -> None:
    for number in range(7):
        write_image(tmp_path / "mine" / f"{number}.png", np.full((20, 20, 3), 30 * number, np.uint8))
    options = replace(toy_options, kinds=["int8"], calibration_folder=tmp_path / "mine")
    calibration = make_card(export(toy_keras, split, options, no_step), "int8", None)["calibration"]
    assert (calibration["images"], calibration["split"], calibration["split_sha256"]) == (7, None, None)


@pytest.mark.slow
def test_judging_the_written_file_again_gives_the_figures_of_the_report(job: Job) -> None:
    rows = {row["name"]: row for row in job.json["models"]}
    again = evaluate(Segmenter(artefact_paths(job.out)["int8"], threads=1), job.split.test)
    assert again.metrics["fire_iou"] == pytest.approx(rows["int8"]["fire_iou"], abs=1e-6)
    assert again.metrics["accuracy"] == pytest.approx(rows["int8"]["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_shrinking_changes_little_and_float_nearly_nothing(job: Job) -> None:
    agreements = {row["name"]: row["agreement"] for row in job.json["models"]}
    assert agreements["keras"] == 1
    assert agreements["float32"] > 0.999
    assert agreements["float16"] > 0.98
    assert agreements["int8"] > 0.7


@pytest.mark.slow
def test_the_data_is_called_synthetic_wherever_it_is_named(job: Job) -> None:
    assert "SYNTHETIC" in job.found.title
    assert "SYNTHETIC" in job.json["data"]["root"]
    text = (job.out / "report.md").read_text()
    assert text.startswith("# small.keras judged on SYNTHETIC data, not FireSeg")
    for row in ("keras", *KINDS):
        assert f"\n| {row} | " in text


@pytest.mark.slow
def test_every_step_is_announced_and_brought_to_its_end(job: Job) -> None:
    assert [description for description, _, _ in job.steps][:3] == [
        "reading training images",
        "converting to float32",
        "converting to float16",
    ]
    for description, total, told in job.steps:
        assert len(told) == total, description


def test_int8_alone_is_the_int8_of_a_whole_export(toy_keras: Path, split: Split, toy_options: Options) -> None:
    whole = export(toy_keras, split, toy_options, no_step)
    alone = export(toy_keras, split, replace(toy_options, kinds=("int8",), threads=1), no_step)
    assert list(alone.converted) == ["int8"]
    assert alone.converted["int8"].flatbuffer == whole.converted["int8"].flatbuffer


@pytest.mark.slow
def test_two_halves_of_the_calibration_set_are_compared(toy_keras: Path, split: Split, toy_options: Options) -> None:
    exported = export(toy_keras, split, toy_options, no_step)
    found = compare_halves(exported, split, toy_options, no_step)
    assert found["images"] == [4, 3]
    assert len(found["fire_iou"]) == 2
    assert 0.5 < found["agreement"] <= 1


def test_two_halves_of_one_image_are_refused(toy_keras: Path, split: Split, toy_options: Options) -> None:
    exported = export(toy_keras, split, replace(toy_options, calibration_count=1), no_step)
    with pytest.raises(UserError, match="two halves need at least 2 calibration images"):
        compare_halves(exported, split, toy_options, no_step)


def test_unmeasured_models_say_so_in_their_cards(
    toy_keras: Path, split: Split, tmp_path: Path, toy_options: Options
) -> None:
    kinds: tuple[Kind, ...] = ("float16", "int8")
    options = replace(toy_options, kinds=kinds)
    exported = export(toy_keras, split, options, no_step)
    paths = artefact_paths(tmp_path, kinds)
    write_models(exported, paths)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths.values()} | {MANIFEST_FILE}
    for path in paths.values():
        _, card = split_model(path)
        assert card is not None
        assert card["measured"] is None
    write_models(exported, artefact_paths(tmp_path / "again", kinds))
    assert sha256(tmp_path / "again" / "fireseg-int8.tflite") == sha256(paths["int8"])


def test_float_needs_no_data_at_all(toy_keras: Path, tmp_path: Path, toy_options: Options) -> None:
    kinds: tuple[Kind, ...] = ("float32",)
    exported = export(toy_keras, None, replace(toy_options, kinds=kinds), no_step)
    assert exported.calibration is None
    write_models(exported, artefact_paths(tmp_path, kinds))
    assert [path.name for path in tmp_path.iterdir()] == ["fireseg-float32.tflite"]


def test_int8_without_any_images_is_refused(toy_keras: Path, toy_options: Options) -> None:
    with pytest.raises(UserError, match="int8 needs calibration images: pass --data"):
        export(toy_keras, None, toy_options, no_step)
