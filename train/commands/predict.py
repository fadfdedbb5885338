"""`fireseg-train predict`: masks and overlays of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.files import printable
from edge.images import output_paths, read_rgb, write_mask
from train.backend import load_keras_backend
from train.commands.options import ModelArgument


def predict_command(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Images to segment.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME-mask.png and NAME-overlay.jpg.")] = Path("build/predict"),
) -> None:
    """Write the fire mask and an overlay of each image."""
    load_keras_backend()
    from train.model.io import load_predictor

    predictor = load_predictor(model)
    outputs = output_paths(images, out)
    for path in images:
        mask = predictor.mask(frame := read_rgb(path))
        write_mask(frame, mask, *outputs[path])
        print(f"{printable(path)}: {mask.mean() * 100:.2f} % fire, {printable(outputs[path][1])}")
