"""`fireseg-train eval`: one model on all there is to judge it by, as tables, as JSON, and as curves and pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.console import JsonOption, print_metrics, print_shares, progress_bars
from edge.errors import UserError
from edge.files import check_writable
from edge.images import IMAGE_SUFFIXES
from edge.model.segmenter import OUTPUT_STEPS
from train.backend import load_keras_backend
from train.commands.options import DataOption, ExtraOption, FoldOption, NegativesOption

ALL = "all"


def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras or a .tflite model.")],
    data: DataOption = None,
    split: Annotated[
        str | None,
        typer.Option(help="official, official-clean, by-video, random, or all: the published ones side by side."),
    ] = None,
    fold: FoldOption = 0,
    extra: ExtraOption = None,
    negatives: NegativesOption = None,
    video: Annotated[list[Path] | None, typer.Option(help="A video to look for fire in.")] = None,
    every: Annotated[int, typer.Option(help="Judge every so many frames of a video.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Cores for a .tflite; all by default.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw truth and prediction of test images into this file.")
    ] = None,
    details: Annotated[
        Path | None,
        typer.Option(help="Folder for curves, tables of videos and outlines and the worst images of each split."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model: on the test images of a split, on what was held out of further sets, and for false alarms."""
    load_keras_backend()
    from train.data.fireseg import content_hash
    from train.data.sources import open_held_out, open_split
    from train.data.splits import with_clean
    from train.evaluation.error_analysis import write_details
    from train.evaluation.evaluate import evaluate, rounded
    from train.evaluation.false_alarms import count_frames, picture_alarms, video_alarms
    from train.evaluation.plots import draw_predictions
    from train.evaluation.provenance import seen
    from train.model.io import load_predictor

    if picture and picture.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"--picture {picture} has no picture format's suffix", f"expected {', '.join(IMAGE_SUFFIXES)}")
    if every < 1:
        raise UserError(f"--every {every}", "expected 1 for every frame of a video, or more")
    for folder in (details, picture.parent if picture else None):
        if folder:
            check_writable(folder)
    lengths = {path: count_frames(path, every) for path in video or []}
    predictor = load_predictor(model, threads=threads)
    with progress_bars() as on_step:
        source, first = open_split(data, "official" if split == ALL else split, fold, on_step)
        splits = with_clean(source.dataset, first) if split == ALL else [first]
        further = open_held_out(extra or [], negatives or [], taken=[one.name for one in splits])
        judged = evaluate(predictor, first.test, on_step("judging", len(first.test)))
        columns = {one.name: (one.test, judged.of(one.test)) for one in splits}
        false_alarms = {}
        for one in further:
            found = evaluate(predictor, one.test, on_step(f"judging {one.title}", len(one.test)))
            if one.kind == "extra":
                columns[one.title] = (one.test, found)
            else:
                false_alarms[one.title] = rounded({**picture_alarms(found.masks), "sha256": content_hash(one.test)}, 6)
        videos = {
            str(path): rounded(video_alarms(predictor, path, every, on_step(f"watching {path.name}", length)), 6)
            for path, length in lengths.items()
        }
    if picture:
        draw_predictions(first.test, judged, picture)
    shown: dict[str, dict[str, Any]] = {
        name: {"images": len(pairs), "sha256": content_hash(pairs), **rounded(found.metrics, 6)}
        for name, (pairs, found) in columns.items()
    }
    facts = {"model": str(model), "data": source.title, "split": first.name, **shown[first.name]}
    learnt = seen(model, source, first.test)
    facts["seen_in_training"] = None if learnt is None else len(learnt)
    if learnt:
        warnings.warn(
            f"{model.name} learnt from {len(learnt)} of the {len(first.test)} images of split {first.name}, or chose "
            "its epoch by them: its figures there say nothing of other fires; judge it on its own training's split",
            stacklevel=1,
        )
    if details:
        threshold = predictor.threshold_u8 / OUTPUT_STEPS
        for name, (pairs, found) in columns.items():
            shown[name]["details"] = write_details(pairs, found, threshold, details / name.replace(" ", "-"))
    if as_json:
        print(json.dumps({**facts, "splits": shown, "negatives": false_alarms, "videos": videos}, indent=2))
        return
    columns_shown = {name: {"images": len(pairs), **found.metrics} for name, (pairs, found) in columns.items()}
    print_metrics(columns_shown, f"{model} on {source.title}")
    print_shares(false_alarms, "false alarms on pictures without flames, by what share of a picture is called fire")
    print_shares(
        {Path(name).name: found for name, found in videos.items()},
        "frames of videos, by what share of a frame is called fire",
    )
