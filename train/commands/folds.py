"""`fireseg-train folds`: the five models of a by-video cross-validation, each judged on the videos it never saw."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from edge.console import JsonOption, progress_bars
from edge.errors import UserError
from edge.model.card import split_model
from train.backend import load_keras_backend
from train.commands.options import DataOption
from train.data.splits import BY_VIDEO, by_video_name

METRICS = ("fire_iou", "mean_iou", "fire_iou_per_image", "accuracy")


@dataclass(frozen=True)
class Run:
    """One fold's training, as its card tells it."""

    folder: Path
    fold: int
    seed: int
    keras_sha256: str
    train_sha256: str
    """Content hash of the images that it learnt from."""

    @property
    def split(self) -> str:
        return by_video_name(self.fold, self.seed)

    @property
    def keras(self) -> Path:
        return self.folder / "best.keras"

    @property
    def int8(self) -> Path:
        return self.folder / "fireseg-int8.tflite"

    def export_line(self, data: Path | None) -> str:
        """The command that makes the int8 model as this asks for it."""
        where = f" --data {data}" if data else ""
        return (
            f"make it with `fireseg-export convert {self.keras} --to int8{where} --split by-video --fold {self.fold} "
            f"--out {self.folder}`"
        )


def folds(
    runs: Annotated[list[Path], typer.Argument(help="The --out folders of `fit --split by-video --fold N`.")],
    data: DataOption = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Judge fireseg-int8.tflite in each folder instead of best.keras.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge each fold's model on its own held-out videos; mean and spread over the folds, and every video."""
    found = sorted((read_run(folder) for folder in runs), key=lambda run: run.fold)
    check_runs(found)
    load_keras_backend()
    from train.data.fireseg import content_hash
    from train.data.sources import find_data
    from train.data.splits import FOLDS, make_split
    from train.evaluation.error_analysis import by_video
    from train.evaluation.evaluate import evaluate, rounded
    from train.model.io import load_predictor

    judged: dict[str, dict[str, Any]] = {}
    videos: list[dict[str, Any]] = []
    with progress_bars() as on_step:
        source = find_data(data, on_step)
        splits = {run: make_split(source.dataset, "by-video", fold=run.fold, seed=run.seed) for run in found}
        for run, split in splits.items():
            if content_hash(split.train) != run.train_sha256:
                raise UserError(f"{run.folder} learnt from other images than {run.split} has here", "check --data")
            if int8:
                check_int8(run, data)
        for run, split in splits.items():
            predictor = load_predictor(run.int8 if int8 else run.keras)
            one = evaluate(predictor, split.test, on_step(f"judging fold {run.fold}", len(split.test)))
            judged[f"fold {run.fold}"] = {"images": len(split.test), **rounded(one.metrics, 6)}
            videos += [{"fold": run.fold, **rounded(row, 6)} for row in by_video(split.test, one.per_image)]
    report = {
        "data": source.title,
        "split": f"by-video seed {found[0].seed}",
        "folds": judged,
        "missing": sorted(set(range(FOLDS)) - {run.fold for run in found}),
        "mean": {name: over(judged, name, statistics.fmean) for name in METRICS},
        "spread": {name: over(judged, name, statistics.stdev) if len(judged) > 1 else None for name in METRICS},
        "videos": sorted(videos, key=lambda row: row["fire_iou"]),
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show(report, "fireseg-int8.tflite" if int8 else "best.keras")


def read_run(folder: Path) -> Run:
    """Raises `UserError` where the folder holds no fold's training that is done."""
    try:
        card = json.loads((folder / "best.json").read_text())
        match = BY_VIDEO.fullmatch(card["data"]["split"])
        hashes = card["sha256"], card["data"]["sets"][0]["sha256"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{folder} holds no finished training (best.json)", "expected what `fit` leaves") from error
    if match is None:
        raise UserError(f"{folder} was trained on split {card['data']['split']}", "expected by-video")
    return Run(folder, int(match[1]), int(match[2]), *hashes)


def check_runs(runs: list[Run]) -> None:
    """Raise `UserError` where the runs do not belong to one cross-validation."""
    if len({run.seed for run in runs}) > 1:
        raise UserError("the runs are of different seeds, and so their folds overlap", "expected one seed")
    if len({run.fold for run in runs}) < len(runs):
        raise UserError("two of the runs are of the same fold", "expected one run for each")


def check_int8(run: Run, data: Path | None) -> None:
    """Raise `UserError` where the int8 model is missing, of another training, or calibrated on anything but the images
    that the fold learnt from."""
    if not run.int8.is_file():
        raise UserError(f"{run.int8} is not there", f"{run.export_line(data)}")
    _, card = split_model(run.int8)
    if not card or card.get("keras_sha256") != run.keras_sha256:
        raise UserError(f"{run.int8} was not made of {run.keras}", f"{run.export_line(data)}")
    calibration = card.get("calibration") or {}
    found = (calibration.get("split"), calibration.get("split_sha256"))
    if found != (run.split, run.train_sha256):
        what = f"on split {found[0]} of this or other data" if found[0] else "on no split's training images"
        raise UserError(
            f"{run.int8} was calibrated {what}, expected what {run.split} learns from here", f"{run.export_line(data)}"
        )


def over(judged: dict[str, dict[str, Any]], name: str, what: Any) -> float:
    return round(float(what([row[name] for row in judged.values()])), 6)


def show(report: dict[str, Any], model: str) -> None:
    table = Table(
        "",
        "images",
        *(Column(name, overflow="fold") for name in METRICS),
        title=f"{model} on {report['data']}, {report['split']}",
    )
    for name, row in report["folds"].items():
        table.add_row(name, str(row["images"]), *(f"{row[metric]:.4f}" for metric in METRICS))
    table.add_section()
    table.add_row("mean", "", *(f"{report['mean'][metric]:.4f}" for metric in METRICS))
    if report["spread"]["fire_iou"] is not None:
        table.add_row("standard deviation", "", *(f"{report['spread'][metric]:.4f}" for metric in METRICS))
    Console().print(table)
    worst = Table("video", "fold", "images", "fire_iou", "precision", "recall", title="every video, the worst first")
    for row in report["videos"]:
        figures = (f"{row[metric]:.4f}" for metric in ("fire_iou", "precision", "recall"))
        worst.add_row(row["video"], str(row["fold"]), str(row["images"]), *figures)
    Console().print(worst)
    if report["missing"]:
        print(f"folds {', '.join(map(str, report['missing']))} are missing: the mean is of the others alone")
