"""`fireseg-export`: Keras -> TFLite, and what it cost."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge.console import JsonOption, print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import make_folder
from edge.model.runtime import cores_for
from export.commands.drift import drift_command
from export.commands.layers import layers_command
from train.backend import load_keras_backend
from train.commands.options import DataOption, FoldOption, SplitOption

app = typer.Typer(
    help="Shrink a Keras U-Net to TFLite and measure what that cost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

EXIT_GATE = 1
SHIPPED_MODEL = Path("models/fireseg-base.keras")


class KindName(StrEnum):
    """What a model can be converted to."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


CountOption = Annotated[int, typer.Option(help="How many training images calibrate int8.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="Calibrate on the pictures of this folder instead, such as frames of your own camera."),
]
SeedOption = Annotated[int, typer.Option(help="Seed of the choice of calibration images.")]
RangeOption = Annotated[bool, typer.Option(help="Cut int8 ranges off where that loses least.")]
RoundingOption = Annotated[bool, typer.Option(help="Round int8 weights layer by layer against the float model.")]
BiasOption = Annotated[bool, typer.Option(help="Give int8 the float's channel means back.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Cores to compute and to time on; all by default.")]

CALIBRATION_COUNT = 200


@app.callback()
def main() -> None:
    """Shrink a Keras U-Net to TFLite and measure what that cost."""
    warnings.showwarning = show_warning


@app.command(epilog="Example: `MODEL=runs/mine/best.keras FIRESEG_DIR=data/fireseg fireseg-export int8`")
def int8(
    model: Annotated[Path, typer.Option(envvar="MODEL", help="The .keras model.")] = SHIPPED_MODEL,
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    out: Annotated[Path, typer.Option(help="Folder for the models and the report.")] = Path("build/export"),
    calibration_count: CountOption = CALIBRATION_COUNT,
    calibration_folder: FolderOption = None,
    seed: SeedOption = 0,
    range_fitting: RangeOption = False,
    weight_rounding: RoundingOption = True,
    bias_correction: BiasOption = True,
    two_halves: Annotated[
        bool, typer.Option(help="Also calibrate on two disjoint halves and compare the two.")
    ] = False,
    max_drop: Annotated[float, typer.Option(help="Gate: points of fire_iou int8 may lose.")] = 0.5,
    min_agreement: Annotated[float, typer.Option(help="Gate: the least IoU of the int8 mask with the float's.")] = 0.97,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export to float32, float16 and int8, judge each against the float, and fail if int8 lost too much."""
    if max_drop < 0 or not 0 <= min_agreement <= 1:
        raise UserError("the gate takes --max-drop of 0 or more points and --min-agreement between 0 and 1")
    cores = cores_for(threads)
    load_keras_backend(needs_tensorflow=True)
    from export.convert import KINDS, artefact_paths
    from export.int8.refine import Steps
    from export.pipeline import Options, compare_halves, export, report, write_report
    from export.report import Gate
    from train.data.sources import open_split
    from train.model.io import check_model_file

    check_model_file(model)
    make_folder(out)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        steps = Steps(range_fitting, weight_rounding, bias_correction)
        options = Options(KINDS, calibration_count, calibration_folder, seed, steps, cores)
        exported = export(model, parts, options, on_step)
        gate = Gate(max_drop / 100, min_agreement)
        found, judgements = report(exported, source, parts, artefact_paths(out), gate, cores, on_step)
        if two_halves:
            found = replace(found, halves=compare_halves(exported, parts, options, on_step))
        write_report(found, judgements, parts, out)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_table(found.table())
        print(f"written to {out}: fireseg-{{float32,float16,int8}}.tflite, report.json, report.md, worst-drift.png")
    if found.failures:
        typer.echo(f"FAILED: {'; '.join(found.failures)}", err=True)
        raise typer.Exit(EXIT_GATE)


@app.command(
    epilog="Example: `fireseg-export convert runs/mine/best.keras --to int8 --data data/fireseg --out build/mine`"
)
def convert(
    model: Annotated[Path, typer.Argument(help="The .keras model.")],
    to: Annotated[list[KindName], typer.Option(help="What to convert to; give it several times for several.")] = [  # noqa: B006
        KindName.float32,
        KindName.float16,
        KindName.int8,
    ],
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    out: Annotated[Path, typer.Option(help="Folder for the models.")] = Path("build/convert"),
    calibration_count: CountOption = CALIBRATION_COUNT,
    calibration_folder: FolderOption = None,
    seed: SeedOption = 0,
    range_fitting: RangeOption = False,
    weight_rounding: RoundingOption = True,
    bias_correction: BiasOption = True,
    threads: ThreadsOption = None,
) -> None:
    """Convert without judging: the cards then say that nothing was measured."""
    cores = cores_for(threads)
    load_keras_backend(needs_tensorflow=True)
    from export.convert import KINDS, artefact_paths
    from export.int8.refine import Steps
    from export.pipeline import Options, export, write_models
    from train.data.sources import open_split
    from train.model.io import check_model_file

    check_model_file(model)
    make_folder(out)
    kinds = [kind for kind in KINDS if kind in {name.value for name in to}]
    parts = None
    with progress_bars() as on_step:
        if "int8" in kinds and (data or not calibration_folder):
            _, parts = open_split(data, split, fold, on_step)
        steps = Steps(range_fitting, weight_rounding, bias_correction)
        options = Options(kinds, calibration_count, calibration_folder, seed, steps, cores)
        exported = export(model, parts, options, on_step)
        paths = artefact_paths(out, kinds)
        write_models(exported, paths)
    for path in paths.values():
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


app.command(
    "drift", epilog="Example: `fireseg-export drift models/fireseg-base.keras models/fireseg-base-int8.tflite`"
)(drift_command)


@app.command(name="inspect", epilog="Example: `fireseg-export inspect models/fireseg-base-int8.tflite`")
def inspect_(
    model: Annotated[Path, typer.Argument(help="A .tflite model, ours or any other.")], as_json: JsonOption = False
) -> None:
    """Show what is in a model: operators, dtypes, quantisation, multiply-adds, partitions, card."""
    from export.inspect import inspect

    found = inspect(model)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(title=model.name, show_header=False)
    for key, value in found.items():
        if key == "multiply_adds":
            value = f"{value / 1e6:.1f} million"
        elif isinstance(value, dict | list):
            value = json.dumps(value, indent=1).strip("{}[]").replace('"', "").replace("\n ", "\n").strip() or "none"
        table.add_row(key.replace("_", " "), str(value))
    print_table(table)


app.command(
    "layers", epilog="Example: `fireseg-export layers build/export/fireseg-{int8,float32}.tflite --data data/fireseg`"
)(layers_command)


def run() -> None:
    """Entry point."""
    run_app(app)
