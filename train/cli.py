"""`fireseg-train`: data, training, judging."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge.console import JsonOption, progress_bars, show_warning
from edge.errors import run_app
from edge.images import output_paths, read_rgb, write_mask
from train.backend import load_keras_backend, load_modules
from train.commands.evaluate import evaluate
from train.commands.fit import fit
from train.commands.folds import folds
from train.commands.options import DataOption as DataOption
from train.commands.options import FoldOption as FoldOption
from train.commands.options import SplitOption as SplitOption

app = typer.Typer(
    help="Train a fire segmentation U-Net on FireSeg and judge it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def main() -> None:
    """Train a fire segmentation U-Net on FireSeg and judge it."""
    warnings.showwarning = show_warning


@app.command(name="check", epilog="Example: `fireseg-train check data/fireseg`")
def check_(
    folder: Annotated[Path, typer.Argument(help="FireSeg's folder, or one with images/ and masks/.")],
    as_json: JsonOption = False,
) -> None:
    """Open every image and mask of a data set; say what it holds and what is wrong."""
    from train.data.check import check
    from train.data.fireseg import load_dataset

    dataset = load_dataset(folder)
    with progress_bars() as on_step:
        found = check(dataset, on_step("opening pairs", len(dataset.pairs)))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("part", "images", "videos", "sizes", "fire, % of pixels", "empty masks", title=str(folder))
    for name, part in found["parts"].items():
        sizes = [f"{count} of {size}" for size, count in list(part["sizes"].items())[:3]]
        more = len(part["sizes"]) - len(sizes)
        table.add_row(
            name,
            str(part["images"]),
            str(len(part["videos"])),
            ", ".join(sizes) + (f" and {more} more" if more > 0 else ""),
            f"{part['fire_share'] * 100:.1f}",
            ", ".join(part["empty_masks"]) or "none",
        )
    Console().print(table)
    leaks = found["leaks"]
    for video in leaks["videos_in_train_and_test"]:
        print(f"leak: video {video} is in train and in test; split official-clean leaves it out of the test")
    for names in leaks["identical_images"]:
        print(f"identical images: {', '.join(names)}")
    for text in found["warnings"]:
        print(f"warning: {text}")


@app.command(name="fetch", epilog="Example: `fireseg-train fetch --out data/fireseg --from Downloads/fireseg.zip`")
def fetch_(
    out: Annotated[Path, typer.Option(help="Where to put the set.")] = Path("data/fireseg"),
    source: Annotated[str, typer.Option("--from", help="mirror, drive, or a folder, archive or URL.")] = "mirror",
) -> None:
    """Bring the real FireSeg set, resumable, and verify it against the published files."""
    load_modules("requests", "gdown")
    from train.download.fetch import fetch, progress_bar

    with progress_bar() as progress:
        found = fetch(out, source, progress=progress)
    print(found)
    if found.warning:
        typer.echo(f"warning: {found.warning}", err=True)


@app.command(epilog="Example: `fireseg-train synth build/synthetic --count 240 --seed 0`")
def synth(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    count: Annotated[int, typer.Option(help="How many images.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed paints the same pictures.")] = 0,
) -> None:
    """Paint a procedural set in FireSeg's layout: for tests and first runs, never in place of FireSeg."""
    from train.synthetic.generate import generate

    with progress_bars() as on_step:
        generate(out, count, seed, on_progress=on_step("painting", count))
    print(f"{out}: {count} synthetic images and masks, seed {seed}")


app.command(
    epilog="Example: `fireseg-train fit --data data/fireseg --out runs/mine`, then `… --resume` if interrupted"
)(fit)


app.command(
    name="eval",
    epilog="Example: `fireseg-train eval models/fireseg-base-int8.tflite --split all --details out`",
)(evaluate)


app.command(epilog="Example: `fireseg-train folds runs/fold-0 runs/fold-1 --data data/fireseg`")(folds)


@app.command(epilog="Example: `fireseg-train predict runs/mine/best.keras photo.jpg --out masks`")
def predict(
    model: Annotated[Path, typer.Argument(help="A .keras or a .tflite model.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures to look at.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME-mask.png and NAME-overlay.jpg.")] = Path("build/predict"),
) -> None:
    """Write masks and overlays of pictures."""
    load_keras_backend()
    from train.model.io import load_predictor

    predictor = load_predictor(model)
    outputs = output_paths(images, out)
    for path in images:
        mask = predictor(frame := read_rgb(path)) >= predictor.threshold_u8
        write_mask(frame, mask, *outputs[path])
        print(f"{path}: {mask.mean() * 100:.2f} % fire, {outputs[path][1]}")


def run() -> None:
    """Entry point."""
    run_app(app)
