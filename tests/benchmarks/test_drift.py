"""Drift lines of the ledger hold the right numbers, and the export's gate names what fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import models
from benchmarks.drift import Loaded, entries, gate_failures
from benchmarks.models import Family, families
from edge.errors import UserError
from train.data.sources import find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions

pytestmark = pytest.mark.bench

KINDS = ("keras", "float32", "float16", "int8")


@pytest.fixture
def lines(synthetic_dir: Path) -> list[dict[str, Any]]:
    """Lines of four models that predict the truth, except that int8 misses a pixel of 16."""
    source = find_data(synthetic_dir)
    split = make_split(source.dataset, "official")
    truth = np.zeros((len(split.test), 8, 8), np.bool_)
    truth[:, 2:6, 2:6] = True
    missing = truth.copy()
    missing[:, 2, 2] = False
    names = tuple(pair.name for pair in split.test)
    predictions = {kind: Predictions(names, missing if kind == "int8" else truth, truth) for kind in KINDS}
    hashes = {kind: f"hash of {kind}" for kind in KINDS}
    loaded = Loaded(Family("fireseg-base", Path("unused"), {}), {}, hashes, dict.fromkeys(KINDS, "a runtime"))
    return entries(loaded, predictions, source, split)


def test_each_model_has_a_line_with_its_hash_and_drift(lines: list[dict[str, Any]]) -> None:
    names = ["fireseg-base", "fireseg-base-float32", "fireseg-base-float16", "fireseg-base-int8"]
    assert [line["model"] for line in lines] == names
    assert [line["model_sha256"] for line in lines] == [f"hash of {kind}" for kind in KINDS]
    assert {(line["keras_sha256"], line["split"]) for line in lines} == {("hash of keras", "official")}
    keras, float32, _, int8 = lines
    assert "fire_iou_drift" not in keras
    assert (float32["fire_iou_drift"], float32["agreement"], float32["fire_iou_interval"]) == (0, 1, [0, 0])
    assert (int8["fire_iou"], int8["fire_iou_drift"], int8["agreement"]) == (0.9375, -0.0625, 0.9375)


def test_a_drift_beyond_the_gate_is_named_and_a_gain_is_not(lines: list[dict[str, Any]]) -> None:
    assert [reason for line in lines[:3] for reason in gate_failures(line)] == []
    drifted, disagrees = gate_failures(lines[3])
    assert "fireseg-base-int8 on SYNTHETIC data" in drifted
    assert "fire_iou is 6.25 points below the Keras model, more than 0.5" in drifted
    assert "agreement with the Keras model is 0.9375, less than 0.97" in disagrees
    assert gate_failures(lines[1] | {"fire_iou_drift": 0.2}) == []


def test_a_missing_model_is_refused_with_the_copy_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MODELS", tmp_path)
    for name in ("mine.keras", "mine-float16.tflite"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"mine\.keras ships without mine-int8\.tflite") as caught:
        families()
    copy = f"and copy build/export/fireseg-int8.tflite to {tmp_path}/mine-int8.tflite"
    assert caught.value.remedy == f"make them with MODEL={tmp_path}/mine.keras make export-int8, {copy}"
