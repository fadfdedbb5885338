"""`fireseg-train folds`: each fold's model judged on its own videos, and never on those that it learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.files import sha256
from edge.model.card import attach, split_model
from tests.support.run_cli import Here, refused
from train.data.fireseg import Dataset, content_hash, load_dataset
from train.data.splits import FOLDS, by_video_name, make_split, split_from_name

SHIPPED = Path(__file__).parents[3] / "models" / "fireseg-base-int8.tflite"


def run_of(folder: Path, model: Path, split: str, dataset: Dataset) -> Path:
    """A folder as a training leaves it."""
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


def test_every_image_is_judged_once_by_the_model_of_its_own_fold(
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


def test_folds_that_are_not_there_are_named(
    here: Here, synthetic_dir: Path, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = here("folds", runs[3], runs[0], "--data", synthetic_dir)
    assert done.code == 0, done.err
    assert "folds 1, 2, 4 are missing" in done.out
    assert "…" not in done.out, "a column is cut"


def test_what_is_no_cross_validation_is_refused(
    here: Here, synthetic_dir: Path, runs: list[Path], model: Path, tmp_path: Path, dataset: Dataset
) -> None:
    official = run_of(tmp_path / "official", model, "official", dataset)
    twin = run_of(tmp_path / "twin", model, "by-video fold 0 seed 0", dataset)
    other = run_of(tmp_path / "other", model, "by-video fold 1 seed 7", dataset)
    (tmp_path / "empty").mkdir()
    mistakes = {
        (official,): "was trained on split official: expected by-video",
        (runs[0], twin): "two of the runs are of the same fold",
        (runs[0], other): "of different seeds",
        (tmp_path / "empty",): "holds no finished training",
    }
    for given, told in mistakes.items():
        (line,) = refused(here("folds", *given, "--data", synthetic_dir))
        assert told in line


def test_runs_of_other_data_are_refused(here: Here, synthetic_dir: Path, runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other-data"
    shutil.copytree(synthetic_dir, other)
    first, second = sorted((other / "images_prepped_train").iterdir())[:2]
    shutil.copy(second, first)
    (line,) = refused(here("folds", *runs, "--data", other))
    assert "learnt from other images than by-video fold" in line and "check --data" in line


def test_an_int8_model_that_is_missing_or_of_another_training_is_refused_with_the_line_that_makes_it(
    here: Here, synthetic_dir: Path, runs: list[Path]
) -> None:
    (line,) = refused(here("folds", runs[2], "--int8", "--data", synthetic_dir))
    made = f"{runs[2] / 'best.keras'} --to int8 --data {synthetic_dir} --split by-video --fold 2 --out {runs[2]}"
    assert f"{runs[2] / 'fireseg-int8.tflite'} is not there: make it with `fireseg-export convert {made}`" in line
    shutil.copy(SHIPPED, runs[2] / "fireseg-int8.tflite")
    (line,) = refused(here("folds", runs[2], "--int8", "--data", synthetic_dir))
    assert "was not made of" in line and made in line


def test_an_int8_model_that_was_calibrated_on_anything_but_what_its_fold_learnt_from_is_refused(
    here: Here, synthetic_dir: Path, runs: list[Path], dataset: Dataset
) -> None:
    flatbuffer, card = split_model(SHIPPED)
    assert card is not None
    of_run = card | {"keras_sha256": sha256(runs[0] / "best.keras")}
    own = {"split": by_video_name(0, 0), "split_sha256": content_hash(make_split(dataset, "by-video").train)}

    def judged_after_calibration_on(calibration: dict[str, Any]) -> tuple[object, ...]:
        card = of_run | {"calibration": of_run["calibration"] | calibration}
        (runs[0] / "fireseg-int8.tflite").write_bytes(attach(flatbuffer, card))
        return ("folds", runs[0], "--int8", "--data", synthetic_dir)

    for wrong, told in (
        ({"split": "official"}, "on split official of this or other data"),
        (own | {"split": by_video_name(1, 0)}, "on split by-video fold 1 seed 0 of this or other data"),
        (own | {"split_sha256": "ab" * 32}, "on split by-video fold 0 seed 0 of this or other data"),
        ({"split": None, "split_sha256": None}, "on no split's training images"),
    ):
        (line,) = refused(here(*judged_after_calibration_on(wrong)))
        assert f"was calibrated {told}, expected what by-video fold 0 seed 0 learns from here" in line
    assert here(*judged_after_calibration_on(own)).code == 0
