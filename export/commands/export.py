"""`fireseg-export all`: convert to every kind, evaluate each, and fail if int8 lost too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.console import JsonOption, ThreadsOption, print_table, progress_bars
from edge.files import make_folder
from edge.model.runtime import cores_for
from export import CALIBRATION_COUNT, SHIPPED_MODEL
from export.commands.options import CountOption, FolderOption, SeedOption
from train.backend import load_keras_backend
from train.commands.options import DataOption, FoldOption, SplitOption


def export_command(
    model: Annotated[Path, typer.Option(envvar="MODEL", help="The .keras model.")] = SHIPPED_MODEL,
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    out: Annotated[Path, typer.Option(help="Folder for the models and the report.")] = Path("build/export"),
    calibration_count: CountOption = CALIBRATION_COUNT,
    calibration_folder: FolderOption = None,
    seed: SeedOption = 0,
    equalization: Annotated[bool, typer.Option(help="Equalize channel ranges before converting to int8.")] = True,
    weight_rounding: Annotated[bool, typer.Option(help="Round int8 weights layer by layer (GPTQ).")] = True,
    bias_correction: Annotated[
        bool, typer.Option(help="Correct int8 biases by the float model's channel means.")
    ] = True,
    max_drop: Annotated[float, typer.Option(min=0, help="Gate: points of fire_iou that int8 may lose.")] = 0.5,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: lowest IoU of int8's mask with the Keras model's.")
    ] = 0.97,
    max_start_drop: Annotated[
        float, typer.Option(min=0, help="Gate: points of fire_iou that a fine-tuned model may lose against its start.")
    ] = 0.5,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export to float32, float16 and int8, compare each with the Keras model, and fail if int8 lost too much."""
    cores = cores_for(threads)
    load_keras_backend(needs_tensorflow=True)
    from export.convert import KINDS
    from export.int8.refine import Refinement
    from export.pipeline import ExportOptions, export_all
    from export.report import Gate
    from train.data.sources import open_split
    from train.evaluation.provenance import warn_of_overlap
    from train.model.io import check_keras_file

    check_keras_file(model)
    refinement = Refinement(weight_rounding, bias_correction)
    options = ExportOptions(KINDS, calibration_count, calibration_folder, seed, refinement, cores, equalization)
    gate = Gate(max_drop / 100, min_agreement, max_start_drop / 100)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        warn_of_overlap(model, source.dataset, parts.test, f"split {parts.name}")
        make_folder(out)  # before the work, and not for data that is missing
        report = export_all(model, source, parts, options, gate, out, on_step)
    if report.fine_tuning and report.fine_tuning.drop is None:
        start = report.fine_tuning.start
        typer.echo(f"warning: not compared with {start}, its start: no metrics on the same official test", err=True)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print_table(report.table())
        print(f"written to {out}: fireseg-{{float32,float16,int8}}.tflite, report.json, report.md, worst-drift.png")
    if report.failures:
        typer.echo(f"FAILED: {'; '.join(report.failures)}", err=True)
        raise typer.Exit(1)
