"""What a shipped model lost becomes lines of the ledger, and too great a loss is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift import Loaded, entries, fireseg_dir, gate_failures
from benchmarks.ledger import moved
from benchmarks.models import families
from edge.errors import UserError
from train.data.sources import find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions

KINDS = ("keras", "float32", "float16", "int8")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("fireseg-base", "fireseg-small"):
        for suffix in (".keras", "-float16.tflite", "-int8.tflite"):
            (tmp_path / f"{name}{suffix}").touch()
    return tmp_path


@pytest.fixture
def lines(models: Path, synthetic_dir: Path) -> list[dict[str, object]]:
    """Of four models that all see the truth, but int8 misses a corner of it."""
    source = find_data(synthetic_dir)
    split = make_split(source.dataset, "official")
    truth = np.zeros((len(split.test), 8, 8), np.bool_)
    truth[:, 2:6, 2:6] = True
    missing = truth.copy()
    missing[:, 2, 2] = False
    names = tuple(pair.name for pair in split.test)
    judged = {kind: Predictions(names, missing if kind == "int8" else truth, truth) for kind in KINDS}
    hashes = {kind: f"hash of {kind}" for kind in KINDS}
    loaded = Loaded(families(models)[0], {}, hashes, {kind: f"runtime of {kind}" for kind in KINDS})
    return entries(loaded, judged, source, split)


def test_families_are_found_by_their_keras_models(models: Path) -> None:
    found = families(models)
    assert [family.name for family in found] == ["fireseg-base", "fireseg-small"]
    assert found[1].shrunk == {kind: models / f"fireseg-small-{kind}.tflite" for kind in ("float16", "int8")}


def test_a_keras_model_that_ships_alone_is_named_with_what_is_missing(models: Path) -> None:
    (models / "fireseg-small-int8.tflite").unlink()
    with pytest.raises(UserError, match=r"fireseg-small.keras ships without fireseg-small-int8.tflite"):
        families(models)


def test_there_is_a_line_for_each_model_with_its_hash_and_that_of_its_float(lines: list[dict[str, object]]) -> None:
    assert [line["model"] for line in lines] == [
        "fireseg-base",
        "fireseg-base-float32",
        "fireseg-base-float16",
        "fireseg-base-int8",
    ]
    assert [line["model_sha256"] for line in lines] == [f"hash of {kind}" for kind in KINDS]
    assert {line["keras_sha256"] for line in lines} == {"hash of keras"}
    assert {line["split"] for line in lines} == {"official"}
    assert "SYNTHETIC" in str(lines[0]["data"])


def test_what_was_shrunk_carries_its_drift_and_the_float_does_not(lines: list[dict[str, object]]) -> None:
    keras, float32, _, int8 = lines
    assert "fire_iou_drift" not in keras
    assert (float32["fire_iou_drift"], float32["agreement"], float32["fire_iou_interval"]) == (0, 1, [0, 0])
    assert (int8["fire_iou"], int8["fire_iou_drift"], int8["agreement"]) == (0.9375, -0.0625, 0.9375)


def test_a_drift_past_the_exports_gate_is_named_with_the_gate(lines: list[dict[str, object]]) -> None:
    assert [reason for line in lines[:3] for reason in gate_failures(line)] == []
    drifted, disagrees = gate_failures(lines[3])
    assert "fireseg-base-int8 on SYNTHETIC data" in drifted
    assert "fire_iou drifted by -0.0625, the gate is -0.005" in drifted
    assert "agreement with the float is 0.9375, the gate is 0.97" in disagrees


def test_a_model_that_gained_does_not_pass_the_gate_backwards(lines: list[dict[str, object]]) -> None:
    assert gate_failures(lines[1] | {"fire_iou_drift": 0.2}) == []


def test_measuring_the_same_again_moves_nothing_and_another_float_explains_all(lines: list[dict[str, object]]) -> None:
    int8 = lines[3]
    assert moved(int8, lines) == []
    assert moved(int8 | {"agreement": 0.9}, lines) != []
    assert moved(int8 | {"agreement": 0.9, "keras_sha256": "another"}, lines) == []


def test_fireseg_is_where_its_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIRESEG_DIR", str(tmp_path))
    assert fireseg_dir() == tmp_path
    monkeypatch.delenv("FIRESEG_DIR")
    monkeypatch.chdir(tmp_path)
    assert fireseg_dir() is None
