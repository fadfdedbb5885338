"""`fireseg-export drift`: two models' masks on the same images, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.console import JsonOption, ThreadsOption, print_table, progress_bars
from edge.errors import UserError
from export.tables import terminal_table
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
    load_keras_backend()
    from export.drift import compare
    from train.data.fireseg import content_hash
    from train.data.sources import open_held_out, open_split
    from train.evaluation.evaluate import evaluate
    from train.evaluation.provenance import learnt_from, warn_of_overlap
    from train.model.io import load_predictor

    models = {path: load_predictor(path, threads=threads) for path in (a, b)}
    sizes = {(model.height, model.width) for model in models.values()}
    if len(sizes) > 1:
        raise UserError(f"{a} and {b} have different input sizes {sorted(sizes)}", "compare models of one input size")
    with progress_bars() as on_step:
        source, parts = open_split(data, split, fold, on_step)
        extra_sets = open_held_out(extra or [], [], taken=[parts.name])
        held_out = {extra_set.title: extra_set.test for extra_set in extra_sets}
        results: dict[str, tuple[Predictions, Predictions, Drift]] = {}
        for name, pairs in {parts.name: parts.test, **held_out}.items():
            predictions = {
                path: evaluate(model, pairs, on_step(f"evaluating {path.name}", len(pairs)))
                for path, model in models.items()  # one file compared with itself is evaluated once
            }
            results[name] = predictions[a], predictions[b], compare(predictions[a], predictions[b])
    for path in models if learnt_from(a) != learnt_from(b) else [a]:
        warn_of_overlap(path, source.dataset, parts.test, f"split {parts.name}")
        for extra_set in extra_sets:
            warn_of_overlap(path, extra_set.dataset, extra_set.test, extra_set.title)
    if as_json:
        facts = {"a": str(a), "b": str(b), "data": source.title, "split": parts.name, "sha256": parts.sha256}
        sets = {name: {"sha256": content_hash(held_out[name]), **drift_json(results[name][2])} for name in held_out}
        print(json.dumps({**facts, **drift_json(results[parts.name][2]), "extra": sets}, indent=2))
        return
    for name, (of_a, of_b, drift) in results.items():
        title = name if name in held_out else f"{source.title}, split {name}"
        rows = [
            (metric, f"{of_a.metrics[metric]:.4f}", f"{of_b.metrics[metric]:.4f}", f"{difference * 100:+.2f}")
            for metric, difference in drift.metrics.items()
        ]
        title = f"{title}, {len(of_a.names)} images"
        print_table(terminal_table(("metric", a.name, b.name, "drift, points"), rows, title=title))
        low, high = drift.fire_iou_interval
        print(f"fire_iou drift, 95 % bootstrap over images: {low * 100:+.2f} to {high * 100:+.2f} points")
        print(f"agreement: {drift.agreement:.4f}")
        worst = sorted((value, image) for image, value in drift.per_image.items())[:WORST_SHOWN]
        shown = (f"{image} {value:.3f} ({drift.per_image_fire_iou[image] * 100:+.1f})" for value, image in worst)
        print(f"lowest agreement: {', '.join(shown)}")


def drift_json(drift: Drift) -> dict[str, Any]:
    """Return the drift, pooled and image by image."""
    per_image = zip(drift.per_image, drift.per_image_fire_iou.values(), drift.per_image.values(), strict=True)
    return {
        "drift": {name: round(value, 6) for name, value in drift.metrics.items()},
        "fire_iou_interval": list(drift.fire_iou_interval),
        "agreement": drift.agreement,
        "images": [
            {"image": image, "fire_iou_difference": round(difference, 4), "agreement": round(agreement, 4)}
            for image, difference, agreement in per_image
        ],
    }
