"""A model's card tells what it learnt from, and so which images say nothing of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge.files import sha256
from edge.model.card import attach, split_model
from train.data.fireseg import content_hash
from train.data.sources import DataSource, find_data
from train.data.splits import make_split, split_held_out
from train.evaluation.provenance import learnt_from, seen

SHIPPED = Path(__file__).parents[3] / "models"


@pytest.fixture
def source(synthetic_dir: Path) -> DataSource:
    return find_data(synthetic_dir)


def trained_on(folder: Path, source: DataSource, split: str, *, fold: int = 0, seed: int = 0) -> Path:
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
    source: DataSource, tmp_path: Path, split: str, fold: int, seed: int
) -> None:
    model = trained_on(tmp_path, source, split, fold=fold, seed=seed)
    parts = make_split(source.dataset, split, fold=fold, seed=seed)
    assert seen(model, source, parts.test) == []
    assert seen(model, source, source.dataset.pairs) == [
        pair.name for pair in source.dataset.pairs if pair in set(parts.train)
    ]


def test_the_same_holds_for_what_was_exported_of_it(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    flatbuffer, card = split_model(SHIPPED / "fireseg-base-int8.tflite")
    assert card is not None
    exported = tmp_path / "exported.tflite"
    exported.write_bytes(attach(flatbuffer, card | {"learnt_from": learnt_from(model)}))
    training = make_split(source.dataset, "official").train
    assert seen(exported, source, training) == [pair.name for pair in training]


def test_a_card_of_another_file_or_none_tells_nothing(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    assert learnt_from(model)
    model.write_bytes(b"other weights")
    assert learnt_from(model) is None
    assert seen(model, source, source.dataset.pairs) is None
    shutil.copy(model, tmp_path / "alone.keras")
    assert learnt_from(tmp_path / "alone.keras") is None


NO_DATA: tuple[object, ...] = (
    3,
    {},
    {"split": "official"},
    {"sets": [3]},
    {"sets": [{"sha256": []}]},
    {"split": 3, "sets": [{"sha256": ""}]},
)
OF_WEIGHTS = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    "card",
    ["{", "[]", '{"data": 3}', '{"sha256": 3, "data": {}}']
    + [json.dumps({"sha256": OF_WEIGHTS, "data": data}) for data in NO_DATA],
)
def test_a_card_that_is_none_tells_nothing(source: DataSource, tmp_path: Path, card: str) -> None:
    (tmp_path / "best.keras").write_bytes(b"weights")
    (tmp_path / "best.json").write_text(card)
    assert seen(tmp_path / "best.keras", source, source.dataset.pairs) is None


def test_other_images_of_the_same_names_are_neither_taken_for_those_it_learnt_from_nor_for_new_ones(
    source: DataSource, tmp_path: Path
) -> None:
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"][0]["sha256"] = "ab" * 32
    model.with_suffix(".json").write_text(json.dumps(card))
    assert seen(model, source, source.dataset.pairs) is None


def test_what_it_learnt_of_a_further_set_was_seen_too(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "by-video")
    learnt, held_out = split_held_out(source.dataset.pairs)
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"] = {"split": "official of another set", "sets": [{"sha256": "ab"}, {"sha256": content_hash(learnt)}]}
    model.with_suffix(".json").write_text(json.dumps(card))
    assert learnt and held_out
    assert seen(model, source, held_out) == []
    assert seen(model, source, source.dataset.pairs) == [
        pair.name for pair in source.dataset.pairs if pair not in set(held_out)
    ]


def test_a_model_is_not_told_to_be_new_to_a_set_that_has_changed_since(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    fewer = replace(source, dataset=replace(source.dataset, pairs=source.dataset.pairs[1:]))
    assert seen(model, fewer, fewer.dataset.pairs) is None
