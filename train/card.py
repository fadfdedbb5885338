"""The JSON card beside a trained model: training data, recipe, results and versions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from edge.files import sha256, write_json
from train.data.fireseg import Pair, content_hash
from train.data.sources import DataSource, ExtraSet
from train.data.splits import Split, with_clean
from train.evaluation.evaluate import Predictions, rounded
from train.evaluation.provenance import Start
from train.recipe import Recipe
from train.training_state import TrainingState, best_row

PACKAGES = ("fireseg-edge", "keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless")
NETWORK_FIELDS = ("width", "size")  # on the card as `model`


def write_card(
    model: Path,
    recipe: Recipe,
    state: TrainingState,
    source: DataSource,
    split: Split,
    predictions: Predictions,
    extra_sets: Sequence[ExtraSet] = (),
    start: Start | None = None,
) -> None:
    """Write `model`'s card as `.json` beside it.

    With `start`, `sets` include those of the model from which this training started.

    `predictions` are of the split's test images. For split `official` the card has the metrics of `official-clean` too.
    """
    sets: list[dict[str, Any]] = [{"title": source.title, "split": split.name, **_images(split.train)}]
    for extra in extra_sets:
        held_out = len(extra.test)
        sets.append({"title": extra.title, "kind": extra.kind, **_images(extra.train), "held_out_images": held_out})
    if start:
        known = {entry["sha256"] for entry in sets}
        sets += [entry for entry in start.sets if entry["sha256"] not in known]
    best = best_row(state.history)
    card: dict[str, Any] = {
        "name": model.stem,
        "sha256": sha256(model),
        "data": {
            "title": source.title,
            "split": split.name,
            "train_sha256": state.data_sha256,
            "train_images": sum(entry.get("images", 0) for entry in sets),
            "sets": sets,
        },
        "start": start and {"name": start.path.name, "sha256": state.start_sha256, "metrics": start.metrics},
        "recipe": {
            "model": asdict(recipe.model),
            **{name: value for name, value in asdict(recipe).items() if name not in NETWORK_FIELDS},
            # The file's name says which weights; its folder concerns one machine only.
            "backbone_weights": recipe.weights and Path(recipe.weights).name,
        },
        "temperature": state.temperature,
        "training": {
            "date": datetime.now(UTC).date().isoformat(),
            "epochs": len(state.history),
            "best_epoch": best["epoch"],
            "best_phase": best["phase"],
            "validation": rounded({key: best[key] for key in ("val_loss", "val_fire_iou") if key in best}) or None,
            "hours": round(sum(row["seconds"] for row in state.history) / 3600, 2),
            "backend": keras.backend.backend(),
        },
        "metrics": {
            part.name: {"images": len(part.test), "sha256": part.sha256, **rounded(predictions.of(part.test).metrics)}
            for part in with_clean(source.dataset, split)
        },
        "versions": installed_versions(),
    }
    write_json(model.with_suffix(".json"), card)


def _images(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {"images": len(pairs), "sha256": content_hash(pairs)}


def installed_versions() -> dict[str, str]:
    """Return the versions of the installed packages that training and evaluation depend on."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
