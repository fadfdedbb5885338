"""`fireseg-train fit`: flags and folders in, a trained model with its card and pictures out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge.console import print_metrics, progress_bars
from edge.errors import UserError
from train.backend import load_keras_backend
from train.commands.options import DataOption, ExtraOption, FoldOption, NegativesOption, SplitOption
from train.recipe_file import take_recipe


def fit(
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    extra: ExtraOption = None,
    negatives: NegativesOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            is_eager=True,
            callback=take_recipe,
            help="A TOML file of the flags below, or base or small; a flag that is typed wins.",
        ),
    ] = None,
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
    whole_batch_norm: Annotated[bool, typer.Option(help="Let BatchNorm learn with the whole network.")] = False,
    settle_epochs: Annotated[int, typer.Option(help="Further epochs of the whole network, BatchNorm still.")] = 0,
    settle_rate: Annotated[float, typer.Option(help="Learning rate of the settling epochs.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 8,
    augment: Annotated[str, typer.Option(help="plain, or strong: more of it, and flames pasted elsewhere.")] = "plain",
    validation: Annotated[
        float, typer.Option(help="Share of the training videos that chooses the best epoch; 0 keeps the last one.")
    ] = 0.15,
    mixed_precision: Annotated[bool, typer.Option(help="Compute in bfloat16: for GPUs.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of validation videos, order, augmentation and weights.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
) -> None:
    """Train: the encoder frozen at first, then the whole network at a low rate, then, if asked to, BatchNorm still."""
    load_keras_backend()
    from train.card import write_card
    from train.data.batches import decode
    from train.data.fireseg import content_hash
    from train.data.sources import assert_unseen, open_extra_sets, open_split
    from train.data.splits import hold_out_videos
    from train.evaluation.evaluate import evaluate
    from train.evaluation.plots import PREDICTIONS_FILE, draw_losses, draw_predictions
    from train.fit import check_out
    from train.fit import fit as fit_recipe
    from train.model.io import KerasPredictor
    from train.model.unet import UNetConfig
    from train.recipe import Recipe
    from train.run_state import BEST_FILE, read_state

    height, width_px = _size(size)
    config = UNetConfig(height, width_px, _one_of(encoder, "encoder"), _one_of(decoder, "decoder"), width)  # type: ignore[arg-type]
    weights = None if backbone_weights == "none" else backbone_weights
    plan = Recipe(
        model=config, backbone_weights=weights, frozen_epochs=frozen_epochs, frozen_rate=frozen_rate,
        whole_epochs=whole_epochs, whole_rate=whole_rate, whole_batch_norm=whole_batch_norm,
        settle_epochs=settle_epochs, settle_rate=settle_rate, batch_size=batch_size,
        augment=_one_of(augment, "augmentation"),  # type: ignore[arg-type]
        validation=validation, mixed_precision=mixed_precision, seed=seed,
    )  # fmt: skip
    plan.check()
    check_out(out, resume=resume)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        learn, validate = hold_out_videos(parts.train, seed=seed, share=validation)
        supplements = open_extra_sets(extra or [], negatives or [])
        assert_unseen(supplements, [*parts.test, *validate])
        further = [pair for one in supplements for pair in one.train]
        learn += further
        learn_from = decode(learn, height, width_px, on_step("reading training images", len(learn)))
        validate_on = decode(validate, height, width_px, on_step("reading validation images", len(validate)))
    print(f"{source.title}, split {parts.name}: {len(learn)} to learn from, {len(validate)} to validate on, into {out}")
    for one in supplements:
        print(f"{one.kind} {one.title}: {len(one.train)} of them to learn from, {len(one.test)} held out")
    model = fit_recipe(
        plan,
        learn_from,
        validate_on,
        out,
        data_sha256=content_hash([*parts.train, *further]),
        resume=resume,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    with progress_bars() as on_step:
        judged = evaluate(KerasPredictor(model), parts.test, on_step("judging the test images", len(parts.test)))
    draw_losses(read_state(out).history, out)
    draw_predictions(parts.test, judged, out / PREDICTIONS_FILE)
    write_card(out / BEST_FILE, plan, read_state(out), source, parts, judged, supplements)
    print_metrics({parts.name: judged.metrics}, f"{out / BEST_FILE} on {source.title}, {len(parts.test)} images")


def _size(text: str) -> tuple[int, int]:
    try:
        sizes = [int(piece) for piece in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2):
        raise UserError(f"--size {text!r}", "expected pixels such as 224, or HEIGHTxWIDTH such as 192x320")
    return sizes[0], sizes[-1]


def _one_of(value: str, kind: str) -> str:
    allowed = {
        "encoder": ("mobilenetv2", "original"),
        "decoder": ("separable", "transposed"),
        "augmentation": ("plain", "strong"),
    }[kind]
    if value not in allowed:
        raise UserError(f"there is no {kind} {value!r}", f"expected one of {', '.join(allowed)}")
    return value
