"""`fireseg-train import-labels`: corrected labels of an annotation tool in; pairs for training out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.errors import counted


def import_labels_command(
    source: Annotated[Path, typer.Argument(help="A COCO .json file, or a folder of masks named like their images.")],
    out: Annotated[Path, typer.Argument(help="A new folder for images/, masks/ and groups.csv, for `fit --extra`.")],
    images: Annotated[
        Path | None,
        typer.Option(help="The images' folder. Default: images/ beside SOURCE, or beside its folder."),
    ] = None,
) -> None:
    """Import labels from CVAT, Label Studio and other tools: COCO polygons or RLE, or masks."""
    from train.data.labels import import_labels

    print(f"{out}: {counted(import_labels(source, images, out), 'image')} with masks")
