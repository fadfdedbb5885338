"""Options that several commands share, and the flags made from the recipe's fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from train.recipe import FIELDS, TYPES, read_recipe

ModelArgument = Annotated[Path, typer.Argument(help="A .keras or .tflite model.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FIRESEG_DIR",
        help="FireSeg's folder, or one with images/ and masks/. Default: data/fireseg, else a synthetic set.",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        help="official, official-clean, by-video, or random (which leaks). Default: official where the data has one."
    ),
]
FoldOption = Annotated[int, typer.Option(help="Which fifth of the videos is the test set of by-video, 0 to 4.")]
ExtraOption = Annotated[
    list[Path] | None,
    typer.Option(help="Extra pairs: images/ and masks/ with groups.csv. 20 % of the groups are held out for testing."),
]
NegativesOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A folder of images without flames and optionally groups.csv. 20 % of the groups are held out for testing."
    ),
]


def with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the command's `**settings` by one Typer flag for each field of the recipe."""
    signature = inspect.signature(command, eval_str=True)
    *parameters, _settings = signature.parameters.values()
    for name, entry in FIELDS.items():
        choices = entry.metadata["choices"]
        help_text = entry.metadata["doc"] + (f" One of {', '.join(choices)}." if choices else "")
        option = typer.Option(entry.default, help=help_text)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=option, annotation=TYPES[name]))
    command.__dict__["__signature__"] = signature.replace(parameters=parameters)
    return command


def take_recipe(context: typer.Context, name: str | None) -> str | None:
    """Callback of --recipe: the file's values become the defaults of the other flags."""
    if name is not None:
        context.default_map = {flag.replace("-", "_"): value for flag, value in read_recipe(name).items()}
    return name
