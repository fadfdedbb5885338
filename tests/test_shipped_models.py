"""The files in models/ are of one training each, say what they learnt from, and stay small."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.files import sha256
from edge.model.card import split_model
from train.evaluation.provenance import learnt_from

SHIPPED = Path(__file__).parents[1] / "models"


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
