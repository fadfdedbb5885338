"""Loading and training are timed on the same batches, and what is told is what was timed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import training
from edge.errors import UserError, run_app
from train.data.batches import Batches
from train.data.sources import find_data
from train.data.splits import Split, make_split

FLAGS = {
    "size": "32", "batch-size": 4, "encoder": "original", "decoder": "separable", "width": 0.1, "seed": 0,
    "augment": "strong", "mixed-precision": False,
}  # fmt: skip


def test_loading_that_takes_longer_is_told_as_slower_and_training_is_not(
    synthetic_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = make_split(find_data(synthetic_dir).dataset, "official")
    usual = training.rates("usual", FLAGS, split, 4)
    assert usual["ratio"] == pytest.approx(usual["loaded_per_s"] / usual["trained_per_s"], rel=0.01)
    load = Batches.__getitem__

    def slowly(self: Batches, index: int) -> object:
        time.sleep(0.2)
        return load(self, index)

    monkeypatch.setattr(Batches, "__getitem__", slowly)
    slow = training.rates("slow", FLAGS, split, 4)
    assert slow["loaded_per_s"] < 4 / 0.2 < usual["loaded_per_s"]
    assert slow["trained_per_s"] > 4 / 0.2


def test_fewer_images_than_a_batch_are_refused(synthetic_dir: Path) -> None:
    split = make_split(find_data(synthetic_dir).dataset, "official")
    few = Split(split.name, split.train[:3], split.test)
    with pytest.raises(UserError, match="few takes batches of 4, but there are 3 training images"):
        training.rates("few", FLAGS, few, 1)


def test_no_batches_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "--batches", "0"])
    with pytest.raises(SystemExit) as left:
        run_app(training.app)
    assert left.value.code == 2
    assert "--batches 0: expected 1 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_our_recipes_are_timed(
    synthetic_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "--batches", "1", "--json", "--data", str(synthetic_dir)])
    with pytest.raises(SystemExit):
        run_app(training.app)
    found = json.loads(capsys.readouterr().out)
    assert [row["recipe"] for row in found["recipes"]] == ["base", "small"]
    assert all(row["trained_per_s"] > 0 and row["loaded_per_s"] > 0 for row in found["recipes"])
    assert found["data"] == "SYNTHETIC data, not FireSeg"
