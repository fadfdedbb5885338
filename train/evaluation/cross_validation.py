"""By-video cross-validation: score the model of each fold on the videos that the fold held out."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.model.card import split_model
from train.data.fireseg import content_hash
from train.data.sources import find_data
from train.data.splits import BY_VIDEO, FOLDS, by_video_name, make_split
from train.evaluation.error_analysis import by_video
from train.evaluation.evaluate import evaluate, rounded
from train.evaluation.metrics import MAIN_METRICS
from train.fit import BEST_FILE
from train.model.io import load_predictor

INT8_FILE = "fireseg-int8.tflite"


class FoldRun(NamedTuple):
    """The training of one fold, as its card describes it."""

    folder: Path
    fold: int
    seed: int
    keras_sha256: str
    train_sha256: str  # content hash of the training images

    @property
    def split(self) -> str:
        return by_video_name(self.fold, self.seed)


def cross_validate(
    folders: Sequence[Path], data: Path | None, *, int8: bool = False, on_step: OnStep = no_steps
) -> dict[str, Any]:
    """Return metrics by fold, their mean and standard deviation, and metrics by video, worst first.

    Raises `UserError` if the runs are not of one cross-validation of this data.
    """
    runs = sorted(map(_read_run, folders), key=lambda run: run.fold)
    if len({run.seed for run in runs}) > 1:
        raise UserError("the runs have different seeds, so their folds overlap", "expected one seed")
    if len({run.fold for run in runs}) < len(runs):
        raise UserError("two of the runs are of the same fold", "expected one run per fold")
    source = find_data(data, on_step)
    splits = {run: make_split(source.dataset, "by-video", fold=run.fold, seed=run.seed) for run in runs}
    for run, split in splits.items():
        if content_hash(split.train) != run.train_sha256:
            raise UserError(f"{run.folder} was trained on other images than {run.split} has here", "check --data")
        if int8:
            _check_int8(run, data)
    folds: dict[str, dict[str, Any]] = {}
    videos: list[dict[str, Any]] = []
    for run, split in splits.items():
        predictor = load_predictor(run.folder / (INT8_FILE if int8 else BEST_FILE))
        predictions = evaluate(predictor, split.test, on_step(f"evaluating fold {run.fold}", len(split.test)))
        folds[f"fold {run.fold}"] = {"images": len(split.test), **rounded(predictions.metrics, 6)}
        videos += [{"fold": run.fold, **rounded(row, 6)} for row in by_video(split.test, predictions.per_image)]
    values = {name: [row[name] for row in folds.values()] for name in MAIN_METRICS}
    return {
        "data": source.title,
        "split": f"by-video seed {runs[0].seed}",
        "folds": folds,
        "missing": sorted(set(range(FOLDS)) - {run.fold for run in runs}),
        "mean": {name: round(statistics.fmean(values[name]), 6) for name in MAIN_METRICS},
        "std": {name: round(statistics.stdev(values[name]), 6) if len(runs) > 1 else None for name in MAIN_METRICS},
        "videos": sorted(videos, key=lambda row: row["fire_iou"]),
    }


def _read_run(folder: Path) -> FoldRun:
    try:
        card = json.loads((folder / "best.json").read_text())
        match = BY_VIDEO.fullmatch(card["data"]["split"])
        hashes = card["sha256"], card["data"]["sets"][0]["sha256"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder} holds no finished training (best.json)", "expected a folder that `fit` wrote"
        ) from error
    if match is None:
        raise UserError(f"{folder} was trained on split {card['data']['split']}", "expected by-video")
    return FoldRun(folder, int(match[1]), int(match[2]), *hashes)


def _check_int8(run: FoldRun, data: Path | None) -> None:
    """Raise `UserError` if the int8 model is missing, from another training, or calibrated on other images."""
    model, keras_model = run.folder / INT8_FILE, run.folder / BEST_FILE
    data_option = f" --data {data}" if data else ""
    remedy = (
        f"make it with `fireseg-export convert {keras_model} --to int8{data_option} --split by-video --fold {run.fold} "
        f"--out {run.folder}`"
    )
    if not model.is_file():
        raise UserError(f"{model} does not exist", remedy)
    _, card = split_model(model)
    if not card or card.get("keras_sha256") != run.keras_sha256:
        raise UserError(f"{model} was not made from {keras_model}", remedy)
    calibration = card.get("calibration") or {}
    split, digest = calibration.get("split"), calibration.get("split_sha256")
    if (split, digest) != (run.split, run.train_sha256):
        images = f"split {split} of this or other data" if split else "images of no split"
        raise UserError(f"{model} was calibrated on {images}, expected {run.split}'s training images here", remedy)
