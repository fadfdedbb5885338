"""`fireseg-export drift`: two models' masks on the same images, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from edge.console import JsonOption, ThreadsOption, print_table, progress_bars
from edge.errors import UserError
from train.backend import load_keras_backend
from train.commands.options import DataOption, ExtraOption, FoldOption, SplitOption

if TYPE_CHECKING:
    from export.drift import Drift
    from train.evaluation.evaluate import Predictions

WORST_SHOWN = 5


def drift_command(
    a: Annotated[Path, typer.Argument(help="The reference model: .keras or .tflite.")],
    b: Annotated[Path, typer.Argument(help="The model that may have drifted.")],
    data: DataOption = None,
    split: SplitOption = None,
    fold: FoldOption = 0,
    extra: ExtraOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two models' masks on the same test images, pooled and image by image."""
    load_keras_backend(needs_tensorflow=True)
    from export.drift import compare
    from train.data.fireseg import content_hash
    from train.data.sources import open_held_out, open_split
    from train.evaluation.evaluate import evaluate
    from train.model.io import load_predictor

    models = {path: load_predictor(path, threads=threads) for path in (a, b)}
    sizes = {(model.height, model.width) for model in models.values()}
    if len(sizes) > 1:
        raise UserError(f"{a} and {b} have different input sizes {sorted(sizes)}", "compare models of one input size")
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        held_out = {extra_set.title: extra_set.test for extra_set in open_held_out(extra or [], [], taken=[parts.name])}
        predictions: dict[str, list[Predictions]] = {}
        for name, pairs in {parts.name: parts.test, **held_out}.items():
            results = {
                path: evaluate(model, pairs, on_step(f"evaluating {path.name}", len(pairs)))
                for path, model in models.items()  # one file compared with itself is evaluated once
            }
            predictions[name] = [results[a], results[b]]
    drifts = {name: compare(*pair) for name, pair in predictions.items()}
    if as_json:
        facts = {"a": str(a), "b": str(b), "data": source.title, "split": parts.name, "sha256": parts.sha256}
        sets = {name: {"sha256": content_hash(pairs), **drift_json(drifts[name])} for name, pairs in held_out.items()}
        print(json.dumps({**facts, **drift_json(drifts[parts.name]), "extra": sets}, indent=2))
        return
    for name, drift in drifts.items():
        of_a, of_b = predictions[name]
        title = name if name in held_out else f"{source.title}, split {name}"
        table = Table("metric", a.name, b.name, "drift, points", title=f"{title}, {len(of_a.names)} images")
        for metric, difference in drift.metrics.items():
            table.add_row(
                metric, f"{of_a.metrics[metric]:.4f}", f"{of_b.metrics[metric]:.4f}", f"{difference * 100:+.2f}"
            )
        print_table(table)
        low, high = drift.fire_iou_interval
        print(f"fire_iou drift, 95 % bootstrap over images: {low * 100:+.2f} to {high * 100:+.2f} points")
        print(f"agreement: {drift.agreement:.4f}")
        worst = sorted((value, image) for image, value in drift.per_image.items())[:WORST_SHOWN]
        shown = (f"{image} {value:.3f} ({drift.per_image_fire_iou[image] * 100:+.1f})" for value, image in worst)
        print(f"lowest agreement: {', '.join(shown)}")


def drift_json(drift: Drift) -> dict[str, Any]:
    """Return the drift, pooled and image by image."""
    return {
        "drift": {name: round(value, 6) for name, value in drift.metrics.items()},
        "fire_iou_interval": list(drift.fire_iou_interval),
        "agreement": drift.agreement,
        "images": [
            {"image": image, "fire_iou_difference": round(difference, 4), "agreement": round(drift.per_image[image], 4)}
            for image, difference in drift.per_image_fire_iou.items()
        ],
    }
