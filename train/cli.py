"""`fireseg-train`: data, training, judging."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.cli import JsonOption, output_paths, show_warning, write_mask
from edge.errors import UserError, run_app
from edge.images import IMAGE_SUFFIXES, read_rgb
from edge.progress import progress_bars
from train.backend import load_keras_backend, load_modules

app = typer.Typer(
    help="Train a fire segmentation U-Net on FireSeg and judge it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

DataOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FIRESEG_DIR",
        help="FireSeg's folder, or one with images/ and masks/. Default: data/fireseg, else a synthetic set.",
    ),
]
SplitOption = Annotated[
    str | None, typer.Option(help="official, official-clean or by-video; official where the data has one.")
]
FoldOption = Annotated[int, typer.Option(help="Which fifth of the videos by-video judges, 0 to 4.")]


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
    from train.check import check
    from train.fireseg import load_dataset

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
    from train.fetch import fetch, progress_bar

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
    from train.synthetic import generate

    with progress_bars() as on_step:
        generate(out, count, seed, on_progress=on_step("painting", count))
    print(f"{out}: {count} synthetic images and masks, seed {seed}")


@app.command(
    epilog="Example: `fireseg-train fit --data data/fireseg --out runs/mine`, then `… --resume` if interrupted"
)
def fit(
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    out: Annotated[Path, typer.Option(help="Folder for the model, its logs and pictures.")] = Path("runs/fireseg"),
    encoder: Annotated[str, typer.Option(help="mobilenetv2 or original (Ronneberger's).")] = "mobilenetv2",
    decoder: Annotated[str, typer.Option(help="separable (light) or transposed (the paper's).")] = "separable",
    width: Annotated[float, typer.Option(help="Width multiplier of the encoder, such as 0.35 or 1.0.")] = 1.0,
    size: Annotated[str, typer.Option(help="The model's input: 224, or HEIGHTxWIDTH.")] = "224",
    backbone_weights: Annotated[str, typer.Option(help="imagenet, a path, or none.")] = "imagenet",
    frozen_epochs: Annotated[int, typer.Option(help="Epochs with the encoder frozen, at most.")] = 25,
    whole_epochs: Annotated[int, typer.Option(help="Epochs of the whole network after that.")] = 10,
    frozen_rate: Annotated[float, typer.Option(help="Learning rate with the encoder frozen.")] = 1e-3,
    whole_rate: Annotated[float, typer.Option(help="Learning rate of the whole network; falls along a cosine.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of validation videos, order, augmentation and weights.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
) -> None:
    """Train: the encoder frozen at first, then the whole network at a low rate."""
    load_keras_backend()
    from train.batches import decode
    from train.card import write_card
    from train.datasets import open_split
    from train.evaluate import judge
    from train.fireseg import content_hash
    from train.models import KerasPredictor
    from train.pictures import PREDICTIONS_FILE, draw_losses, draw_predictions
    from train.recipe import BEST_FILE, Recipe, check_out, read_state
    from train.recipe import fit as fit_recipe
    from train.splits import hold_out_videos
    from train.unet import UNetConfig

    height, width_px = _size(size)
    config = UNetConfig(height, width_px, _one_of(encoder, "encoder"), _one_of(decoder, "decoder"), width)  # type: ignore[arg-type]
    weights = None if backbone_weights == "none" else backbone_weights
    recipe = Recipe(
        model=config, backbone_weights=weights, frozen_epochs=frozen_epochs, frozen_rate=frozen_rate,
        whole_epochs=whole_epochs, whole_rate=whole_rate, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    recipe.check()
    check_out(out, resume=resume)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        learn, validate = hold_out_videos(parts.train, seed=seed)
        learn_from = decode(learn, height, width_px, on_step("reading training images", len(learn)))
        validate_on = decode(validate, height, width_px, on_step("reading validation images", len(validate)))
    print(f"{source.title}, split {parts.name}: {len(learn)} to learn from, {len(validate)} to validate on, into {out}")
    model = fit_recipe(
        recipe,
        learn_from,
        validate_on,
        out,
        data_sha256=content_hash(parts.train),
        resume=resume,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    with progress_bars() as on_step:
        judged = judge(KerasPredictor(model), parts.test, on_step("judging the test images", len(parts.test)))
    draw_losses(read_state(out).history, out)
    draw_predictions(parts.test, judged, out / PREDICTIONS_FILE)
    write_card(out / BEST_FILE, recipe, read_state(out), source, parts, judged)
    _print_metrics({parts.name: judged.metrics}, f"{out / BEST_FILE} on {source.title}, {len(parts.test)} images")


@app.command(name="eval", epilog="Example: `fireseg-train eval models/fireseg-int8.tflite --data data/fireseg --json`")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras or a .tflite model.")],
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    threads: Annotated[int | None, typer.Option(help="Cores for a .tflite; all by default.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw truth and prediction of test images into this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on the test images of a split."""
    load_keras_backend()
    from train.datasets import open_split
    from train.evaluate import judge, rounded
    from train.models import load_predictor

    if picture and picture.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"--picture {picture} has no picture format's suffix: expected {', '.join(IMAGE_SUFFIXES)}")
    predictor = load_predictor(model, threads=threads)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        judged = judge(predictor, parts.test, on_step("judging", len(parts.test)))
    if picture:
        from train.pictures import draw_predictions

        draw_predictions(parts.test, judged, picture)
    if as_json:
        facts: dict[str, Any] = {"model": str(model), "data": source.title, "split": parts.name, "sha256": parts.sha256}
        print(json.dumps({**facts, "images": len(parts.test), **rounded(judged.metrics, 6)}, indent=2))
        return
    _print_metrics({parts.name: judged.metrics}, f"{model} on {source.title}, {len(parts.test)} images")


@app.command(epilog="Example: `fireseg-train predict runs/mine/best.keras photo.jpg --out masks`")
def predict(
    model: Annotated[Path, typer.Argument(help="A .keras or a .tflite model.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures to look at.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME-mask.png and NAME-overlay.jpg.")] = Path("build/predict"),
) -> None:
    """Write masks and overlays of pictures."""
    load_keras_backend()
    from train.models import load_predictor

    predictor = load_predictor(model)
    outputs = output_paths(images, out)
    for path in images:
        mask = predictor(frame := read_rgb(path)) >= predictor.threshold_u8
        write_mask(frame, mask, *outputs[path])
        print(f"{path}: {mask.mean() * 100:.2f} % fire, {outputs[path][1]}")


def _size(text: str) -> tuple[int, int]:
    try:
        sizes = [int(piece) for piece in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2):
        raise UserError(f"--size {text!r}: expected pixels such as 224, or HEIGHTxWIDTH such as 192x320")
    return sizes[0], sizes[-1]


def _one_of(value: str, kind: str) -> str:
    allowed = {"encoder": ("mobilenetv2", "original"), "decoder": ("separable", "transposed")}[kind]
    if value not in allowed:
        raise UserError(f"there is no {kind} {value!r}: expected one of {', '.join(allowed)}")
    return value


def _print_metrics(rows: dict[str, dict[str, float]], title: str) -> None:
    table = Table("metric", *rows, title=title)
    for name in next(iter(rows.values())):
        table.add_row(name, *(f"{metrics[name]:.4f}" for metrics in rows.values()))
    Console().print(table)


def run() -> None:
    """Entry point."""
    run_app(app)
