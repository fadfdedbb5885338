"""`fireseg-train folds`: the models of a by-video cross-validation, each scored on its held-out videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from edge.console import JsonOption, progress_bars
from train.backend import load_keras_backend
from train.commands.options import DataOption


def folds_command(
    runs: Annotated[list[Path], typer.Argument(help="The --out folders of `fit --split by-video --fold N`.")],
    data: DataOption = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Evaluate fireseg-int8.tflite in each folder instead of best.keras.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate each fold's model on its held-out videos; show mean and deviation over the folds, and every video."""
    load_keras_backend()
    from train.evaluation.cross_validation import cross_validate
    from train.evaluation.metrics import MAIN_METRICS

    with progress_bars() as on_step:
        report = cross_validate(runs, data, int8=int8, on_step=on_step)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    model = "fireseg-int8.tflite" if int8 else "best.keras"
    Console().print(_folds_table(report, MAIN_METRICS, f"{model} on {report['data']}, {report['split']}"))
    Console().print(_videos_table(report["videos"]))
    if report["missing"]:
        print(f"folds {', '.join(map(str, report['missing']))} are missing: the mean is of the others")


def _folds_table(report: dict[str, Any], metrics: tuple[str, ...], title: str) -> Table:
    table = Table("", "images", *(Column(name, overflow="fold") for name in metrics), title=title)
    for name, row in report["folds"].items():
        table.add_row(name, str(row["images"]), *(f"{row[metric]:.4f}" for metric in metrics))
    table.add_section()
    for name, key in (("mean", "mean"), ("standard deviation", "std"))[: len(report["folds"])]:
        table.add_row(name, "", *(f"{report[key][metric]:.4f}" for metric in metrics))
    return table


def _videos_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("video", "fold", "images", "fire_iou", "precision", "recall", title="videos, worst first")
    for row in rows:
        cells = (f"{row[metric]:.4f}" for metric in ("fire_iou", "precision", "recall"))
        table.add_row(row["video"], str(row["fold"]), str(row["images"]), *cells)
    return table
