"""`fireseg-export drift`: two models' masks on the same images, side by side."""

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


def drift_command(
    a: Annotated[Path, typer.Argument(help="The model to compare with: .keras or .tflite.")],
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
        raise UserError(f"{a} and {b} take frames of different size {sorted(sizes)}", "masks of one size are compared")
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        further = {one.title: one.test for one in open_held_out(extra or [], [], taken=[parts.name])}
        judged: dict[str, tuple[Predictions, Predictions]] = {}
        for name, pairs in {parts.name: parts.test, **further}.items():
            found = [
                evaluate(model, pairs, on_step(f"judging {path.name}", len(pairs))) for path, model in models.items()
            ]
            judged[name] = (found[0], found[-1])  # one file compared with itself is judged once
    if as_json:
        facts = {"a": str(a), "b": str(b), "data": source.title, "split": parts.name, "sha256": parts.sha256}
        sets = {name: {"sha256": content_hash(pairs), **as_facts(*judged[name])} for name, pairs in further.items()}
        print(json.dumps({**facts, **as_facts(*judged[parts.name]), "extra": sets}, indent=2))
        return
    for name, two in judged.items():
        title = name if name in further else f"{source.title}, split {name}"
        show(*two, (a.name, b.name), f"{title}, {len(two[0].names)} images")


def as_facts(a: Predictions, b: Predictions) -> dict[str, Any]:
    """How B differs from A: pooled, with the interval, and image by image."""
    from export.drift import compare, per_image_difference
    from train.evaluation.evaluate import rounded

    found = compare(a, b)
    rows = [
        {"image": name, "fire_iou_difference": round(difference, 4), "agreement": round(found.per_image[name], 4)}
        for name, difference in zip(a.names, per_image_difference(a, b), strict=True)
    ]
    return {
        "drift": rounded(found.metrics, 6),
        "fire_iou_interval": list(found.fire_iou_interval),
        "agreement": found.agreement,
        "images": rows,
    }


def show(a: Predictions, b: Predictions, names: tuple[str, str], title: str) -> None:
    """Print the same for people, with the five images on which the two agree least."""
    from export.drift import compare, per_image_difference

    found = compare(a, b)
    table = Table("metric", *names, "drift, points", title=title)
    for name, difference in found.metrics.items():
        table.add_row(name, f"{a.metrics[name]:.4f}", f"{b.metrics[name]:.4f}", f"{difference * 100:+.2f}")
    print_table(table)
    low, high = found.fire_iou_interval
    print(f"fire_iou drift, 95 % bootstrap over images: {low * 100:+.2f} to {high * 100:+.2f} points")
    print(f"agreement: {found.agreement:.4f}")
    worst = sorted(zip(found.per_image.values(), a.names, per_image_difference(a, b), strict=True))[:5]
    print("least agreement: " + ", ".join(f"{name} {value:.3f} ({change * 100:+.1f})" for value, name, change in worst))
