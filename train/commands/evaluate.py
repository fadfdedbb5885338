"""`fireseg-train eval`: score a model on splits, extra sets, negatives and videos; as tables, JSON and plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.console import JsonOption, ThreadsOption, print_metrics, print_shares, progress_bars
from edge.detection.views import MAX_ZOOM
from edge.errors import UserError
from edge.files import check_writable
from edge.model.segmenter import OUTPUT_STEPS
from train.backend import load_keras_backend
from train.commands.options import DataOption, ExtraOption, FoldOption, ModelArgument, NegativesOption

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""What Matplotlib writes of the formats that are read."""


def eval_command(
    model: ModelArgument,
    data: DataOption = None,
    split: Annotated[
        str | None,
        typer.Option(help="official, official-clean, by-video, random, or all: the published splits side by side."),
    ] = None,
    fold: FoldOption = 0,
    extra: ExtraOption = None,
    negatives: NegativesOption = None,
    video: Annotated[list[Path] | None, typer.Option(help="A video to detect fire in.")] = None,
    frame_stride: Annotated[int, typer.Option(help="Evaluate every Nth frame of a video.")] = 1,
    tiles: Annotated[
        int,
        typer.Option(min=1, max=MAX_ZOOM, help="Evaluate N x N overlapping tiles of each image, as the detector does."),
    ] = 1,
    threads: ThreadsOption = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw ground truth and prediction of test images into this file.")
    ] = None,
    report_dir: Annotated[
        Path | None, typer.Option(help="Folder for an error analysis of each split: curves, tables and worst images.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on a split's test images and on held-out images of extra sets; count false alarms."""
    load_keras_backend()
    from train.data.fireseg import content_hash
    from train.data.sources import open_held_out, open_split
    from train.data.splits import with_clean
    from train.evaluation.boundary import boundary_metrics
    from train.evaluation.error_analysis import write_error_analysis
    from train.evaluation.evaluate import evaluate, rounded
    from train.evaluation.false_alarms import count_frames, image_alarms, video_alarms
    from train.evaluation.plots import draw_predictions
    from train.evaluation.provenance import warn_of_overlap
    from train.model.io import load_predictor

    if picture and picture.suffix.lower() not in PICTURE_SUFFIXES:
        raise UserError(f"--picture {picture} is not an image file", f"expected {', '.join(PICTURE_SUFFIXES)}")
    if tiles > 1 and (picture or report_dir or video):
        raise UserError("--picture, --report-dir and --video use whole images", "remove them or --tiles")
    if frame_stride < 1:
        raise UserError(f"--frame-stride {frame_stride}", "expected 1 for every frame of a video, or more")
    for folder in filter(None, (report_dir, picture and picture.parent)):
        check_writable(folder)
    unit = "image" if tiles == 1 else "tile"
    lengths = {path: count_frames(path, frame_stride) for path in video or []}
    predictor = load_predictor(model, threads=threads)
    with progress_bars() as on_step:
        source, first = open_split(data, "official" if split == "all" else split, fold, on_step)
        splits = with_clean(source.dataset, first) if split == "all" else [first]
        held_out = open_held_out(extra or [], negatives or [], taken=[part.name for part in splits])
        predictions = evaluate(predictor, first.test, on_step("evaluating", len(first.test)), zoom=tiles)
        columns = {part.name: (part.test, predictions.of(part.test)) for part in splits}
        false_alarms = {}
        for extra_set in held_out:
            pairs = extra_set.test
            scored = evaluate(predictor, pairs, on_step(f"evaluating {extra_set.title}", len(pairs)), zoom=tiles)
            if extra_set.kind == "extra":
                columns[extra_set.title] = (pairs, scored)
            else:
                rates = {f"{unit}s": len(scored.masks), **image_alarms(scored.masks), "sha256": content_hash(pairs)}
                false_alarms[extra_set.title] = rounded(rates, 6)
        videos = {}
        for path, length in lengths.items():
            done = on_step(f"evaluating {path.name}", length)
            videos[str(path)] = rounded(video_alarms(predictor, path, frame_stride, done), 6)
    if picture:
        draw_predictions(first.test, predictions, picture)
    metrics = {
        name: {
            **{key.replace("_per_image", f"_per_{unit}"): value for key, value in scored.metrics.items()},
            **boundary_metrics(scored.masks, scored.truth),
        }
        for name, (_, scored) in columns.items()
    }
    report: dict[str, dict[str, Any]] = {
        name: {"images": len(pairs), "sha256": content_hash(pairs), **rounded(metrics[name], 6)}
        for name, (pairs, _) in columns.items()
    }
    summary = {"model": str(model), "data": source.title, "split": first.name, "tiles": tiles, **report[first.name]}
    overlap = warn_of_overlap(model, source.dataset, first.test, f"split {first.name}")
    summary["train_test_overlap"] = None if overlap is None else len(overlap)
    for extra_set in held_out:
        warn_of_overlap(model, extra_set.dataset, extra_set.test, extra_set.title)
    if report_dir:
        threshold = predictor.threshold_u8 / OUTPUT_STEPS
        for name, (pairs, scored) in columns.items():
            out = report_dir / name.replace(" ", "-")
            report[name]["error_analysis"] = write_error_analysis(pairs, scored, threshold, out)
    if as_json:
        print(json.dumps({**summary, "splits": report, "negatives": false_alarms, "videos": videos}, indent=2))
        return
    print_metrics(
        {name: {"images": len(pairs), **metrics[name]} for name, (pairs, _) in columns.items()},
        f"{model} on {source.title}",
    )
    print_shares(false_alarms, f"false alarms: {unit}s without flames, by area fraction predicted as fire")
    by_name = {Path(name).name: rates for name, rates in videos.items()}
    print_shares(by_name if len(by_name) == len(videos) else videos, "video frames, by area fraction predicted as fire")
