"""Options that `export all` and `convert` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CountOption = Annotated[int, typer.Option(help="Number of training images that calibrate int8.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="Calibrate on the images in this folder instead, such as frames from your camera."),
]
SeedOption = Annotated[int, typer.Option(help="Seed for choosing calibration images.")]
