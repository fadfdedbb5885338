"""The card beside a trained model: what it was trained on, how, and what it reaches."""

from __future__ import annotations

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
from train.recipe import Recipe
from train.run_state import TrainingState, best_of

PACKAGES = ("fireseg-edge", "keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless")


def write_card(
    model: Path,
    recipe: Recipe,
    state: TrainingState,
    source: DataSource,
    split: Split,
    judged: Predictions,
    supplements: Sequence[ExtraSet] = (),
) -> None:
    """Write `model`'s card as `.json` beside it. `judged` are the split's test images; where the split is `official`,
    the card has the figures of `official-clean` too."""
    sets = [{"title": source.title, **_learnt(split.train)}]
    for one in supplements:
        sets.append({"title": one.title, "kind": one.kind, **_learnt(one.train), "held_out_images": len(one.test)})
    best = best_of(state.history)
    card: dict[str, Any] = {
        "name": model.stem,
        "sha256": sha256(model),
        "data": {
            "title": source.title,
            "split": split.name,
            "train_sha256": state.data_sha256,
            "train_images": sum(one["images"] for one in sets),
            "sets": sets,
        },
        "recipe": {**asdict(recipe), "backbone_weights": _without_folder(recipe.backbone_weights)},
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
            one.name: {"images": len(one.test), "sha256": one.sha256, **rounded(judged.of(one.test).metrics)}
            for one in with_clean(source.dataset, split)
        },
        "versions": installed_versions(),
    }
    write_json(model.with_suffix(".json"), card)


def _learnt(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {"images": len(pairs), "sha256": content_hash(pairs)}


def _without_folder(weights: str | None) -> str | None:
    """A path says something of one machine; the file's name says which weights."""
    return weights and Path(weights).name


def installed_versions() -> dict[str, str]:
    """The versions of what trains and judges, of those installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
