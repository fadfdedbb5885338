"""`fireseg-export convert`: convert to the kinds asked for, without evaluation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.console import ThreadsOption, progress_bars
from edge.files import make_folder
from edge.model.runtime import cores_for
from export import CALIBRATION_COUNT
from export.commands.options import CountOption, FolderOption, SeedOption
from train.backend import load_keras_backend
from train.commands.options import DataOption, FoldOption, SplitOption


class KindName(StrEnum):
    """The kinds of TFLite model, as choices of `--to`."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def convert_command(
    model: Annotated[Path, typer.Argument(help="The .keras model.")],
    to: Annotated[list[KindName], typer.Option(help="Kind to convert to; repeat for several.")] = list(KindName),  # noqa: B006
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    out: Annotated[Path, typer.Option(help="Folder for the models.")] = Path("build/convert"),
    calibration_count: CountOption = CALIBRATION_COUNT,
    calibration_folder: FolderOption = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
) -> None:
    """Convert without evaluating: the cards then hold no measurements."""
    cores = cores_for(threads)
    load_keras_backend(needs_tensorflow=True)
    from export.convert import KINDS
    from export.int8.refine import Refinement
    from export.pipeline import ExportOptions, export_models, write_artefacts
    from train.data.sources import open_split
    from train.model.io import check_keras_file

    check_keras_file(model)
    kinds = [kind for kind in KINDS if kind in to]
    options = ExportOptions(kinds, calibration_count, calibration_folder, seed, Refinement(), cores)
    parts = None
    with progress_bars() as on_step:
        if "int8" in kinds and (data or not calibration_folder):
            _, parts = open_split(data, split, fold, on_step)
        make_folder(out)  # before the work, and not for data that is missing
        exported = export_models(model, parts, options, on_step)
        paths = write_artefacts(exported, out)
    for path in paths.values():
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
