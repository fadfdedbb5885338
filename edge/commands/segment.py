"""`fireseg-edge segment`: masks and overlays of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.commands.options import ModelOption, RuntimeOption, load_segmenter
from edge.console import JsonOption, ThreadsOption
from edge.errors import UserError, UserErrors
from edge.files import printable
from edge.images import output_paths, read_rgb, write_mask
from edge.model.shipped import DEFAULT_MODEL, find_model


def segment_command(
    images: Annotated[list[Path], typer.Argument(help="Images to segment.")],
    model: ModelOption = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option(help="Folder for NAME-mask.png and NAME-overlay.jpg.")] = Path("build/segment"),
    threads: ThreadsOption = None,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment the fire in images: write a mask and an overlay of each.

    Images that cannot be read are skipped and named at the end; the exit code is then 2.
    """
    for path in images:
        if path.suffix == ".tflite":
            raise UserError(f"{path} is a model, not an image", f"write `--model {path}` before the images")
    segmenter = load_segmenter(model, threads=threads, runtime=runtime)
    outputs = output_paths(images, out)
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for path in track(images, "segmenting", console=Console(stderr=True), disable=len(images) < 2, transient=True):
        try:
            frame = read_rgb(path)
        except UserError as error:
            errors += error.lines
            continue
        mask = segmenter.mask(frame)
        mask_path, overlay_path = outputs[path]
        write_mask(frame, mask, mask_path, overlay_path)
        share = round(float(mask.mean()), 6)
        rows.append({"image": str(path), "fire_share": share, "mask": str(mask_path), "overlay": str(overlay_path)})
    if rows or not errors:
        _print(rows, as_json=as_json, title=f"{find_model(model).name} on {segmenter.runtime}")
    if errors:
        count = [f"{len(errors)} of {len(images)} images could not be read"] if len(images) > 1 else []
        raise UserErrors([*errors, *count])


def _print(rows: list[dict[str, Any]], *, as_json: bool, title: str) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("image", "fire, % of pixels", "overlay", title=title)
    for row in rows:
        table.add_row(printable(row["image"]), f"{row['fire_share'] * 100:.2f}", printable(row["overlay"]))
    Console().print(table)
