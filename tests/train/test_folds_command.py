"""`fireseg-train folds`: each fold's model judged on its own videos, and never on those that it learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.card import attach, split_model
from edge.files import sha256
from tests.train.typed import Here, refused
from train.fireseg import load_dataset
from train.splits import FOLDS, make_split

SHIPPED = Path(__file__).parents[2] / "models" / "fireseg-base-int8.tflite"


def run_of(folder: Path, model: Path, split: str) -> Path:
    """A folder as a training leaves it."""
    folder.mkdir()
    shutil.copy(model, folder / "best.keras")
    card = {"sha256": sha256(model), "data": {"split": split}}
    (folder / "best.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def runs(model: Path, tmp_path: Path) -> list[Path]:
    return [run_of(tmp_path / f"run-{fold}", model, f"by-video fold {fold} seed 0") for fold in range(FOLDS)]


def test_every_image_is_judged_once_by_the_model_of_its_own_fold(
    here: Here, synthetic_dir: Path, runs: list[Path]
) -> None:
    done = here("folds", *runs, "--data", synthetic_dir, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    dataset = load_dataset(synthetic_dir)
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
    here: Here, synthetic_dir: Path, runs: list[Path], model: Path, tmp_path: Path
) -> None:
    official = run_of(tmp_path / "official", model, "official")
    twin = run_of(tmp_path / "twin", model, "by-video fold 0 seed 0")
    other = run_of(tmp_path / "other", model, "by-video fold 1 seed 7")
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


def test_an_int8_model_of_another_training_is_refused(here: Here, synthetic_dir: Path, runs: list[Path]) -> None:
    (line,) = refused(here("folds", runs[0], "--int8", "--data", synthetic_dir))
    assert "is not there: make it with" in line
    shutil.copy(SHIPPED, runs[0] / "best-int8.tflite")
    (line,) = refused(here("folds", runs[0], "--int8", "--data", synthetic_dir))
    assert "was not made of" in line


def test_an_int8_model_that_was_calibrated_on_the_videos_which_judge_it_is_refused(
    here: Here, synthetic_dir: Path, runs: list[Path]
) -> None:
    flatbuffer, card = split_model(SHIPPED)
    assert card is not None
    of_run = card | {"keras_sha256": sha256(runs[0] / "best.keras")}

    def judged_after_calibration_on(split: str | None) -> tuple[object, ...]:
        calibration = {**of_run["calibration"], "split": split}
        (runs[0] / "best-int8.tflite").write_bytes(attach(flatbuffer, of_run | {"calibration": calibration}))
        return ("folds", runs[0], "--int8", "--data", synthetic_dir)

    for split in ("official", "by-video fold 1 seed 0", None):
        (line,) = refused(here(*judged_after_calibration_on(split)))
        assert f"was calibrated on split {split}, expected by-video fold 0 seed 0" in line
        assert "--split by-video --fold 0" in line
    assert here(*judged_after_calibration_on("by-video fold 0 seed 0")).code == 0
