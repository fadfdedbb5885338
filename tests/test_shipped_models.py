"""The models that ship: the kinds of one network share a training, name their training sets, and stay small."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge.files import sha256
from edge.model.card import FLATBUFFER_SHA256, split_model
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_maps
from train.evaluation.provenance import learnt_from

SHIPPED = Path(__file__).parents[1] / "models"


@pytest.mark.parametrize("name", ["fireseg-base", "fireseg-small"])
def test_the_kinds_of_a_shipped_model_share_one_training_and_name_its_sets(name: str) -> None:
    keras = SHIPPED / f"{name}.keras"
    data = learnt_from(keras)
    assert data is not None and data["train_images"] == sum(trained["images"] for trained in data["sets"]) > 500
    for kind in ("float16", "int8"):
        _, card = split_model(SHIPPED / f"{name}-{kind}.tflite")
        assert card is not None
        assert (card["kind"], card["keras_sha256"], card["learnt_from"]) == (kind, sha256(keras), data)
        assert (card["encoder"], card["decoder"]) == ("mobilenetv2", "separable")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.tflite")), ids=lambda path: str(path.stem))
def test_a_shipped_model_has_its_sha256_and_passes_its_self_test(path: Path) -> None:
    flatbuffer, card = split_model(path)
    assert card is not None
    assert card[FLATBUFFER_SHA256] == hashlib.sha256(flatbuffer).hexdigest()
    assert check_maps(Segmenter(path, threads=1)).startswith("self-test passed")


def test_the_shipped_models_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in SHIPPED.iterdir() if path.suffix in (".keras", ".tflite")}
    assert len(sizes) == 6
    assert sum(sizes.values()) < 18e6
    assert sizes["fireseg-small-int8.tflite"] < 1e6
