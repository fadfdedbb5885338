"""Provenance: a model's card names its training images, so that a test on them is noticed."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import attach, split_model
from train.data.fireseg import content_hash
from train.data.sources import DataSource, find_data, open_extra_sets
from train.data.splits import make_split, split_held_out
from train.evaluation.provenance import learnt_from, read_start, train_test_overlap
from train.model.losses import TEMPERATURE

SHIPPED = Path(__file__).parents[3] / "models"


@pytest.fixture
def source(synthetic_dir: Path) -> DataSource:
    return find_data(synthetic_dir)


def trained_on(folder: Path, source: DataSource, split: str, *, fold: int = 0, seed: int = 0) -> Path:
    """Write a model file whose card names the training images of this split."""
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
def test_the_overlap_is_none_of_the_test_images_and_all_training_images(
    source: DataSource, tmp_path: Path, split: str, fold: int, seed: int
) -> None:
    model = trained_on(tmp_path, source, split, fold=fold, seed=seed)
    parts = make_split(source.dataset, split, fold=fold, seed=seed)
    assert train_test_overlap(model, source.dataset, parts.test) == []
    assert train_test_overlap(model, source.dataset, source.dataset.pairs) == [
        pair.name for pair in source.dataset.pairs if pair in set(parts.train)
    ]


def test_a_model_fine_tuned_on_another_split_has_the_overlap_of_both(source: DataSource, tmp_path: Path) -> None:
    first, second = (make_split(source.dataset, "by-video", fold=fold) for fold in (1, 2))
    model = trained_on(tmp_path, source, "by-video", fold=1)
    sets = [
        *read_start(model, source.dataset, first.test).sets,
        {"split": second.name, "sha256": content_hash(second.train)},
    ]
    card = {"sha256": sha256(model), "data": {"split": second.name, "sets": sets}}
    model.with_suffix(".json").write_text(json.dumps(card))
    for fold in range(5):
        test = make_split(source.dataset, "by-video", fold=fold).test
        assert train_test_overlap(model, source.dataset, test) == [pair.name for pair in test]
        with pytest.raises(UserError, match=f"was trained on {len(test)} of the test or validation images"):
            read_start(model, source.dataset, test)


def test_a_start_without_the_temperature_of_the_loss_is_a_warning(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    with pytest.warns(UserWarning, match=r"best\.keras was trained by an earlier version and is overconfident"):
        read_start(model, source.dataset, [])
    card = json.loads(model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(card | {"temperature": TEMPERATURE}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_start(model, source.dataset, [])


@pytest.mark.parametrize("entry", [{"images": "692"}, {"images": None}, {"images": math.nan}, {"hours": math.inf}])
def test_a_card_with_an_invalid_set_tells_nothing(source: DataSource, tmp_path: Path, entry: dict[str, Any]) -> None:
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"][0] |= entry
    model.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"best\.keras has no card that lists its training sets"):
        read_start(model, source.dataset, [])


def test_a_set_that_was_trained_on_whole_overlaps_with_what_would_be_held_out(
    source: DataSource, tmp_path: Path
) -> None:
    pairs = source.dataset.pairs
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"] = [{"title": "mine", "kind": "extra", "sha256": content_hash(pairs), "held_out_images": 0}]
    model.with_suffix(".json").write_text(json.dumps(card))
    held_out = split_held_out(pairs)[1]
    assert train_test_overlap(model, source.dataset, held_out) == [pair.name for pair in held_out]


def test_a_start_that_was_trained_on_what_an_extra_set_holds_out_is_refused(source: DataSource, tmp_path: Path) -> None:
    mine = open_extra_sets([source.dataset.root], [])
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"] = [{"sha256": content_hash(mine[0].train)}]
    model.with_suffix(".json").write_text(json.dumps(card | {"temperature": TEMPERATURE, "sha256": sha256(model)}))
    read_start(model, source.dataset, [], mine)
    card["data"]["sets"] = [{"sha256": content_hash(mine[0].dataset.pairs), "held_out_images": 0}]
    model.with_suffix(".json").write_text(json.dumps(card | {"temperature": TEMPERATURE, "sha256": sha256(model)}))
    with pytest.raises(UserError, match=rf"was trained on {len(mine[0].test)} held-out images of {mine[0].title} "):
        read_start(model, source.dataset, [], mine)


def test_a_split_that_does_not_exist_is_unknown(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["split"] = f"by-video fold {5000 * '9'} seed 0"
    model.with_suffix(".json").write_text(json.dumps(card))
    assert train_test_overlap(model, source.dataset, source.dataset.pairs) is None


def test_an_exported_model_has_the_same_overlap(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    flatbuffer, card = split_model(SHIPPED / "fireseg-base-int8.tflite")
    assert card is not None
    exported = tmp_path / "exported.tflite"
    exported.write_bytes(attach(flatbuffer, card | {"learnt_from": learnt_from(model)}))
    training = make_split(source.dataset, "official").train
    assert train_test_overlap(exported, source.dataset, training) == [pair.name for pair in training]


def test_the_overlap_is_unknown_without_the_card_of_that_very_file(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    assert learnt_from(model)
    model.write_bytes(b"other weights")
    assert learnt_from(model) is None
    assert train_test_overlap(model, source.dataset, source.dataset.pairs) is None
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
    ["{", "[]", pytest.param("[" * 100_000, id="nested"), '{"data": 3}', '{"sha256": 3, "data": {}}']
    + [json.dumps({"sha256": OF_WEIGHTS, "data": data}) for data in NO_DATA],
)
def test_the_overlap_is_unknown_with_an_invalid_card(source: DataSource, tmp_path: Path, card: str) -> None:
    (tmp_path / "best.keras").write_bytes(b"weights")
    (tmp_path / "best.json").write_text(card)
    assert train_test_overlap(tmp_path / "best.keras", source.dataset, source.dataset.pairs) is None


def test_the_overlap_is_unknown_for_a_set_that_has_changed(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "official")
    fewer = replace(source, dataset=replace(source.dataset, pairs=source.dataset.pairs[1:]))
    assert train_test_overlap(model, fewer.dataset, fewer.dataset.pairs) is None
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"]["sets"][0]["sha256"] = "ab" * 32  # other images of the same names
    model.with_suffix(".json").write_text(json.dumps(card))
    assert train_test_overlap(model, source.dataset, source.dataset.pairs) is None


def test_the_overlap_includes_extra_training_sets(source: DataSource, tmp_path: Path) -> None:
    model = trained_on(tmp_path, source, "by-video")
    training, held_out = split_held_out(source.dataset.pairs)
    card = json.loads(model.with_suffix(".json").read_text())
    card["data"] = {"split": "official of another set", "sets": [{"sha256": "ab"}, {"sha256": content_hash(training)}]}
    model.with_suffix(".json").write_text(json.dumps(card))
    assert training and held_out
    assert train_test_overlap(model, source.dataset, held_out) == []
    assert train_test_overlap(model, source.dataset, source.dataset.pairs) == [
        pair.name for pair in source.dataset.pairs if pair not in set(held_out)
    ]
