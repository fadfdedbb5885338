"""The card beside a trained model: training data, recipe, results and versions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.files import sha256
from train.card import NETWORK_FIELDS, installed_versions, write_card
from train.data.fireseg import content_hash, load_dataset
from train.data.sources import DataSource, ExtraSet
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions
from train.model.losses import TEMPERATURE
from train.recipe import Recipe
from train.training_state import TrainingState

HISTORY = [
    {"phase": "frozen", "epoch": 1, "seconds": 1800.0, "val_loss": 0.9, "val_fire_iou": 0.5},
    {"phase": "finetune", "epoch": 2, "seconds": 3600.0, "val_loss": 0.4000449, "val_fire_iou": 0.7123456},
    {"phase": "finetune", "epoch": 3, "seconds": 3600.0, "val_loss": 0.6, "val_fire_iou": 0.8},
]


def card_of(synthetic_dir: Path, model: Path, extra_sets: Sequence[ExtraSet] = ()) -> dict[str, Any]:
    model.write_bytes(b"a model")
    dataset = load_dataset(synthetic_dir)
    split = make_split(dataset, "official")
    truth = np.zeros((len(split.test), 8, 8), np.bool_)
    truth[:, :3] = True
    masks = truth.copy()
    masks[:, 2] = False
    predictions = Predictions(tuple(pair.name for pair in split.test), masks, truth)
    source = DataSource(dataset, "SYNTHETIC data, not FireSeg", is_synthetic=True)
    state = TrainingState({}, "ab" * 32, HISTORY, temperature=TEMPERATURE)
    write_card(model, Recipe(), state, source, split, predictions, extra_sets)
    return dict(json.loads(model.with_suffix(".json").read_text()))


@pytest.fixture
def card(synthetic_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return card_of(synthetic_dir, tmp_path / "best.keras")


def test_it_names_the_model_and_every_training_set_by_hash(synthetic_dir: Path, tmp_path: Path) -> None:
    split = make_split(load_dataset(synthetic_dir), "official")
    extra = ExtraSet("sunsets", "negatives", load_dataset(synthetic_dir), split.train[:5], split.train[5:8])
    card = card_of(synthetic_dir, tmp_path / "best.keras", [extra])
    assert (card["name"], card["sha256"]) == ("best", sha256(tmp_path / "best.keras"))
    title, images = "SYNTHETIC data, not FireSeg", len(split.train)
    of_extra = {"title": "sunsets", "kind": "negatives", "images": 5, "sha256": content_hash(split.train[:5])}
    assert card["data"] == {
        "title": title,
        "split": "official",
        "train_sha256": "ab" * 32,
        "train_images": images + 5,
        "sets": [
            {"title": title, "split": "official", "images": images, "sha256": content_hash(split.train)},
            {**of_extra, "held_out_images": 3},
        ],
    }


def test_metrics_come_with_the_splits_size_and_hash(card: dict[str, Any], synthetic_dir: Path) -> None:
    split = make_split(load_dataset(synthetic_dir), "official")
    expected = {"images": len(split.test), "sha256": split.sha256, "fire_iou": 0.6667, "recall": 0.6667, "precision": 1}
    assert expected.items() <= card["metrics"]["official"].items()


def test_it_names_the_best_epoch(card: dict[str, Any]) -> None:
    training = card["training"]
    assert (training["epochs"], training["best_epoch"], training["best_phase"]) == (3, 2, "finetune")
    assert training["validation"] == {"val_loss": 0.4, "val_fire_iou": 0.7123}
    assert training["hours"] == 2.5
    assert date.fromisoformat(training["date"])


def test_it_holds_the_whole_recipe_with_the_network_as_its_model(card: dict[str, Any]) -> None:
    recipe = card["recipe"]
    assert recipe["model"] == asdict(Recipe().model)
    rest = {name: value for name, value in asdict(Recipe()).items() if name not in NETWORK_FIELDS}
    assert recipe == {"model": recipe["model"], **rest}


def test_it_has_the_temperature_of_the_loss(card: dict[str, Any]) -> None:
    assert card["temperature"] == TEMPERATURE


def test_it_lists_the_versions_of_the_packages(card: dict[str, Any]) -> None:
    assert card["versions"] == installed_versions()
    assert {"keras", "numpy", "fireseg-edge"} <= card["versions"].keys()
    assert all(re.match(r"\d+\.\d+", version) for version in card["versions"].values())
