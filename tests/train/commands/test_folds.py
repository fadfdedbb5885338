"""`fireseg-train folds`: each fold's model is scored on its held-out videos, never on its training images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import attach, split_model
from tests.support.run_cli import Here
from train.data.fireseg import Dataset, content_hash, load_dataset
from train.data.splits import FOLDS, by_video_name, make_split, split_from_name
from train.evaluation.cross_validation import cross_validate

SHIPPED = Path(__file__).parents[3] / "models" / "fireseg-small-int8.tflite"


def run_of(folder: Path, model: Path, split: str, dataset: Dataset) -> Path:
    """Write a folder as a training leaves it."""
    folder.mkdir()
    shutil.copy(model, folder / "best.keras")
    sets = [{"sha256": content_hash(split_from_name(dataset, split).train)}]
    card = {"sha256": sha256(model), "data": {"split": split, "sets": sets}}
    (folder / "best.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def dataset(synthetic_dir: Path) -> Dataset:
    return load_dataset(synthetic_dir)


@pytest.fixture
def runs(model: Path, tmp_path: Path, dataset: Dataset) -> list[Path]:
    return [run_of(tmp_path / f"run-{fold}", model, by_video_name(fold, 0), dataset) for fold in range(FOLDS)]


@pytest.mark.slow
def test_every_image_is_scored_once_by_the_model_of_its_fold(
    here: Here, synthetic_dir: Path, runs: list[Path], dataset: Dataset
) -> None:
    done = here("folds", *runs, "--data", synthetic_dir, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert sum(row["images"] for row in report["folds"].values()) == len(dataset.pairs)
    for row in report["videos"]:
        assert row["video"] in {pair.video for pair in make_split(dataset, "by-video", fold=row["fold"]).test}
    assert len(report["videos"]) == len({pair.video for pair in dataset.pairs})
    values = [row["fire_iou"] for row in report["folds"].values()]
    assert report["mean"]["fire_iou"] == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert report["missing"] == []


@pytest.mark.slow
def test_missing_folds_are_named(
    here: Here, synthetic_dir: Path, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = here("folds", runs[3], runs[0], "--data", synthetic_dir)
    assert done.code == 0, done.err
    assert "folds 1, 2, 4 are missing" in done.out
    assert "…" not in done.out, "a column is truncated"


def test_runs_that_are_not_one_cross_validation_are_refused(
    synthetic_dir: Path, runs: list[Path], model: Path, tmp_path: Path, dataset: Dataset
) -> None:
    official = run_of(tmp_path / "official", model, "official", dataset)
    twin = run_of(tmp_path / "twin", model, "by-video fold 0 seed 0", dataset)
    other = run_of(tmp_path / "other", model, "by-video fold 1 seed 7", dataset)
    for folders, message in (
        ([official], "was trained on split official: expected by-video"),
        ([runs[0], twin], "two of the runs are of the same fold"),
        ([runs[0], other], "have different seeds"),
        ([tmp_path], "holds no finished training"),
    ):
        with pytest.raises(UserError, match=message):
            cross_validate(folders, synthetic_dir)


def test_runs_of_other_data_are_refused(synthetic_dir: Path, runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other-data"
    shutil.copytree(synthetic_dir, other)
    first, second = sorted((other / "images_prepped_train").iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(UserError, match=r"was trained on other images than by-video fold .* check --data"):
        cross_validate(runs, other)


def test_an_int8_model_that_is_missing_or_of_another_training_is_refused_with_the_command_that_makes_it(
    synthetic_dir: Path, runs: list[Path]
) -> None:
    run = runs[2]
    command = f"{run / 'best.keras'} --to int8 --data {synthetic_dir} --split by-video --fold 2 --out {run}"
    with pytest.raises(UserError) as missing:
        cross_validate([run], synthetic_dir, int8=True)
    expected = f"{run / 'fireseg-int8.tflite'} does not exist: make it with `fireseg-export convert {command}`"
    assert expected in str(missing.value)
    shutil.copy(SHIPPED, run / "fireseg-int8.tflite")
    with pytest.raises(UserError) as other:
        cross_validate([run], synthetic_dir, int8=True)
    assert "was not made from" in str(other.value) and command in str(other.value)


def test_an_int8_model_calibrated_on_other_images_is_refused(
    here: Here, synthetic_dir: Path, runs: list[Path], dataset: Dataset
) -> None:
    flatbuffer, card = split_model(SHIPPED)
    assert card is not None
    of_run = card | {"keras_sha256": sha256(runs[0] / "best.keras")}
    own = {"split": by_video_name(0, 0), "split_sha256": content_hash(make_split(dataset, "by-video").train)}

    def calibrate_on(calibration: dict[str, Any]) -> None:
        card = of_run | {"calibration": of_run["calibration"] | calibration}
        (runs[0] / "fireseg-int8.tflite").write_bytes(attach(flatbuffer, card))

    for other, images in (
        ({"split": "official"}, "split official of this or other data"),
        (own | {"split": by_video_name(1, 0)}, "split by-video fold 1 seed 0 of this or other data"),
        (own | {"split_sha256": "ab" * 32}, "split by-video fold 0 seed 0 of this or other data"),
        ({"split": None, "split_sha256": None}, "images of no split"),
    ):
        calibrate_on(other)
        with pytest.raises(UserError, match=f"was calibrated on {images}, expected by-video fold 0 seed 0's"):
            cross_validate([runs[0]], synthetic_dir, int8=True)
    calibrate_on(own)
    assert here("folds", runs[0], "--int8", "--data", synthetic_dir).code == 0
