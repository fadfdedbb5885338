"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FIRESEG_DIR",
        help="FireSeg's folder, or one with images/ and masks/. Default: data/fireseg, else a synthetic set.",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(help="official, official-clean or by-video, or random, which leaks; official where the data has one."),
]
FoldOption = Annotated[int, typer.Option(help="Which fifth of the videos by-video judges, 0 to 4.")]
ExtraOption = Annotated[
    list[Path] | None,
    typer.Option(help="Further pairs, images/ and masks/ with groups.csv; a fifth of the groups is for testing alone."),
]
NegativesOption = Annotated[
    list[Path] | None,
    typer.Option(help="A folder of pictures without flames; a fifth of them is for testing alone."),
]
