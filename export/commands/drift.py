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
        results: dict[str, tuple[Predictions, Predictions]] = {}
        for name, pairs in {parts.name: parts.test, **held_out}.items():
            predictions = [
                evaluate(model, pairs, on_step(f"evaluating {path.name}", len(pairs))) for path, model in models.items()
            ]
            results[name] = (predictions[0], predictions[-1])  # one file compared with itself is evaluated once
    if as_json:
        facts = {"a": str(a), "b": str(b), "data": source.title, "split": parts.name, "sha256": parts.sha256}
        sets = {name: {"sha256": content_hash(pairs), **drift_json(*results[name])} for name, pairs in held_out.items()}
        print(json.dumps({**facts, **drift_json(*results[parts.name]), "extra": sets}, indent=2))
        return
    for name, (of_a, of_b) in results.items():
        title = name if name in held_out else f"{source.title}, split {name}"
        print_drift(of_a, of_b, (a.name, b.name), f"{title}, {len(of_a.names)} images")


def drift_json(a: Predictions, b: Predictions) -> dict[str, Any]:
    """Return the drift of B from A, pooled and image by image."""
    from export.drift import compare, per_image_difference
    from train.evaluation.evaluate import rounded

    drift = compare(a, b)
    return {
        "drift": rounded(drift.metrics, 6),
        "fire_iou_interval": list(drift.fire_iou_interval),
        "agreement": drift.agreement,
        "images": [
            {"image": name, "fire_iou_difference": round(difference, 4), "agreement": round(drift.per_image[name], 4)}
            for name, difference in zip(a.names, per_image_difference(a, b), strict=True)
        ],
    }


def print_drift(a: Predictions, b: Predictions, names: tuple[str, str], title: str) -> None:
    """Print the drift of B from A, with the images of lowest agreement."""
    from export.drift import compare, per_image_difference

    drift = compare(a, b)
    table = Table("metric", *names, "drift, points", title=title)
    for name, difference in drift.metrics.items():
        table.add_row(name, f"{a.metrics[name]:.4f}", f"{b.metrics[name]:.4f}", f"{difference * 100:+.2f}")
    print_table(table)
    low, high = drift.fire_iou_interval
    print(f"fire_iou drift, 95 % bootstrap over images: {low * 100:+.2f} to {high * 100:+.2f} points")
    print(f"agreement: {drift.agreement:.4f}")
    rows = sorted(zip(drift.per_image.values(), a.names, per_image_difference(a, b), strict=True))[:WORST_SHOWN]
    print("lowest agreement: " + ", ".join(f"{name} {value:.3f} ({change * 100:+.1f})" for value, name, change in rows))
