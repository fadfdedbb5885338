"""A model's card tells what it learnt from, and so which images say nothing of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.card import attach, split_model
from edge.files import sha256
from train.datasets import Source, find_data
from train.fireseg import content_hash
from train.lineage import learnt_from, seen
from train.splits import make_split

SHIPPED = Path(__file__).parents[2] / "models"


@pytest.fixture
def source(synthetic_dir: Path) -> Source:
    return find_data(synthetic_dir)


def trained_on(folder: Path, source: Source, split: str, *, fold: int = 0, seed: int = 0) -> Path:
    """A model file with the card of a training on this split, as far as what it learnt from goes."""
    parts = make_split(source.dataset, split, fold=fold, seed=seed)
    model = folder / "best.keras"
    model.write_bytes(b"weights")
    data = {
        "split": parts.name,
        "sets": [{"title": source.title, "images": len(parts.train), "sha256": content_hash(parts.train)}],
    }
    model.with_suffix(".json").write_text(json.dumps({"sha256": sha256(model), "data": data}))
    return model


@pytest.mark.parametrize(("split", "fold", "seed"), [("official", 0, 0), ("by-video", 3, 7), ("random", 0, 5)])
def test_its_own_test_images_were_not_seen_and_its_training_images_were(
    source: Source, tmp_path: Path, split: str, fold: int, seed: int
) -> None:
    model = trained_on(tmp_path, source, split, fold=fold, seed=seed)
    parts = make_split(source.dataset, split, fold=fold, seed=seed)
    assert seen(model, source, parts.test) == []
    assert seen(model, source, source.dataset.pairs) == [
        pair.name for pair in source.dataset.pairs if pair in set(parts.train)
    ]


def test_the_same_holds_for_what_was_exported_of_it(source: Source, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    flatbuffer, card = split_model(SHIPPED / "fireseg-base-int8.tflite")
    assert card is not None
    exported = tmp_path / "exported.tflite"
    exported.write_bytes(attach(flatbuffer, card | {"learnt_from": learnt_from(model)}))
    training = make_split(source.dataset, "official").train
    assert seen(exported, source, training) == [pair.name for pair in training]


def test_a_card_of_another_file_or_none_tells_nothing(source: Source, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    assert learnt_from(model)
    model.write_bytes(b"other weights")
    assert learnt_from(model) is None
    assert seen(model, source, source.dataset.pairs) == []
    shutil.copy(model, tmp_path / "alone.keras")
    assert learnt_from(tmp_path / "alone.keras") is None


@pytest.mark.parametrize("card", ["{", "[]", '{"data": 3}', '{"sha256": 3, "data": {}}'])
def test_a_card_that_is_none_tells_nothing(source: Source, tmp_path: Path, card: str) -> None:
    (tmp_path / "best.keras").write_bytes(b"weights")
    (tmp_path / "best.json").write_text(card)
    assert seen(tmp_path / "best.keras", source, source.dataset.pairs) == []


def test_other_images_of_the_same_names_are_not_taken_for_those_it_learnt_from(source: Source, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"][0]["sha256"] = "ab" * 32
    model.with_suffix(".json").write_text(json.dumps(card))
    assert seen(model, source, source.dataset.pairs) == []


@pytest.mark.parametrize("name", ["fireseg-base", "fireseg-small"])
def test_the_shipped_models_are_of_one_training_each_and_say_what_they_learnt_from(name: str) -> None:
    keras = SHIPPED / f"{name}.keras"
    data = learnt_from(keras)
    assert data is not None and data["train_images"] == sum(one["images"] for one in data["sets"]) > 500
    for kind in ("float16", "int8"):
        _, card = split_model(SHIPPED / f"{name}-{kind}.tflite")
        assert card is not None
        assert (card["kind"], card["keras_sha256"], card["learnt_from"]) == (kind, sha256(keras), data)


def test_the_shipped_models_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in SHIPPED.iterdir() if path.suffix in (".keras", ".tflite")}
    assert len(sizes) == 6
    assert sum(sizes.values()) < 18e6
    assert sizes["fireseg-small-int8.tflite"] < 1e6
