"""`fireseg-train fit`: data and a recipe in; a trained model with its card and plots out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.console import print_metrics, progress_bars
from edge.errors import UserError
from train.backend import load_keras_backend
from train.commands import options
from train.distribution import data_parallel, join_hosts
from train.recipe import Recipe


@options.with_recipe_flags
def fit_command(
    data: options.DataOption = None,
    split: options.SplitOption = None,
    fold: options.FoldOption = 0,
    extra: options.ExtraOption = None,
    negatives: options.NegativesOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            is_eager=True,
            callback=options.take_recipe,
            help="base, small, finetune or adapt (the last two fine-tune), or a TOML file of the flags below. "
            "Command-line flags override it.",
        ),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="A .keras model to fine-tune, such as models/fireseg-base.keras.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the model, its logs and plots.")] = Path("runs/fireseg"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    distribute: Annotated[
        bool, typer.Option("--distribute", help="Divide each batch among all devices; needs KERAS_BACKEND=jax.")
    ] = False,
    **settings: Any,
) -> None:
    """Train with the encoder frozen, then fine-tune the whole network, then optionally with BatchNorm frozen."""
    plan = Recipe(**settings)
    plan.check()
    load_keras_backend(prepare=join_hosts if distribute else lambda: None)
    from train.card import write_card
    from train.data.batches import decode, warn_of_masks
    from train.data.fireseg import content_hash
    from train.data.sources import assert_unseen, open_extra_sets, open_split
    from train.data.splits import hold_out_videos, repeat
    from train.evaluation.evaluate import evaluate
    from train.evaluation.plots import PREDICTIONS_FILE, draw_losses, draw_predictions
    from train.evaluation.provenance import read_start
    from train.fit import BEST_FILE, build_initial, fit
    from train.model.io import KerasPredictor
    from train.training_state import check_out, read_state

    distribution = data_parallel(plan.batch_size) if distribute else None
    check_out(out, resume=resume)
    if recipe in ("adapt", "finetune") and start is None:
        raise UserError(f"recipe {recipe} fine-tunes a trained model", "pass it as --start")
    if plan.start_weight and start is None:
        raise UserError("--start-weight averages with a trained model", "pass it as --start")
    if start and start.resolve().parent == out.resolve():
        raise UserError(f"--start {start} lies in --out, which this run overwrites", "pass another --out")
    if start:
        build_initial(plan, start)  # refuses another network before the images are read
    height, width_px = plan.model.height, plan.model.width_px
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        train_pairs, validation_pairs = hold_out_videos(parts.train, seed=plan.seed, share=plan.validation)
        extra_sets = open_extra_sets(extra or [], negatives or [], hold_out=plan.hold_out)
        held_out = [*parts.test, *validation_pairs]
        assert_unseen(extra_sets, train_pairs, held_out)
        started = read_start(start, source.dataset, held_out, extra_sets) if start else None
        extra_pairs = [pair for extra_set in extra_sets for pair in extra_set.train]
        repeated = repeat(extra_pairs, plan.extra_share, len(train_pairs))
        trained = [*train_pairs, *extra_pairs]
        digest = "-".join(content_hash(pairs) for pairs in (trained, validation_pairs) if pairs)
        train_pairs += repeated
        training, validation = (
            decode(pairs, height, width_px, on_step(f"reading {name} images", len(pairs)))
            for name, pairs in (("training", train_pairs), ("validation", validation_pairs))
        )
    warn_of_masks(training)
    print(
        f"{source.title}, split {parts.name}: {len(training)} training, {len(validation)} validation images; to {out}"
    )
    for extra_set in extra_sets:
        numbers = f"{len(extra_set.train)} training images, {len(extra_set.test)} held out"
        print(f"{extra_set.kind} {extra_set.title}: {numbers}")
    if len(repeated) > len(extra_pairs):
        print(f"each of their images {len(repeated) // len(extra_pairs)} times in an epoch")
    verbose = 1 if sys.stdout.isatty() else 2
    model = fit(
        plan, training, validation, out, data_sha256=digest, start=start, resume=resume, distribution=distribution,
        verbose=verbose,
    )  # fmt: skip
    with progress_bars() as on_step:
        predictions = evaluate(KerasPredictor(model), parts.test, on_step("evaluating", len(parts.test)))
    state = read_state(out)
    draw_losses(state.history, out)
    draw_predictions(parts.test, predictions, out / PREDICTIONS_FILE)
    write_card(out / BEST_FILE, plan, state, source, parts, predictions, extra_sets, started)
    print_metrics({parts.name: predictions.metrics}, f"{out / BEST_FILE} on {source.title}, {len(parts.test)} images")
