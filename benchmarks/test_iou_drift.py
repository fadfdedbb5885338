"""What shrinking cost every shipped model, here and now: `make drift`. The figures go into the ledger.

Fails where a model lost more than the export's gate allows, and where a figure is another one although neither the
model, nor the data, nor any version is: then the code computes something else. Where that was meant, ACCEPT=1 notes it.
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from benchmarks import drift
from benchmarks.ledger import append, moved, read
from benchmarks.models import Family, families
from train.data.sources import DataSource, find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions


@cache
def loaded(family: str) -> drift.Loaded:
    return drift.load(next(found for found in families() if found.name == family))


@cache
def source(name: str) -> DataSource:
    if name == "synthetic":
        return drift.synthetic()
    root = drift.fireseg_dir()
    if root is None:
        pytest.skip("FireSeg is not here: set FIRESEG_DIR, or bring it with `fireseg-train fetch`")
    return find_data(root)


@cache
def judged(family: str, data: str) -> dict[str, Predictions]:
    """Every model's masks on a data set's whole test, of which each split judges a part."""
    return loaded(family).evaluate(make_split(source(data).dataset, "official").test)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("data", "split_name"), [("fireseg", "official"), ("fireseg", "official-clean"), ("synthetic", "official")]
)
def test_iou_drift(family: Family, data: str, split_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    split = make_split(source(data).dataset, split_name)
    whole = judged(family.name, data)
    measured = {kind: judgement.of(split.test) for kind, judgement in whole.items()}
    wrong: list[str] = []
    with capsys.disabled():
        print()
        for entry in drift.entries(loaded(family.name), measured, source(data), split):
            wrong += drift.gate_failures(entry)
            unexplained = moved(entry, read())
            told = "moved"
            if not unexplained or os.environ.get("ACCEPT"):
                told = "noted" if append(entry) else "unchanged"
            wrong += unexplained if told == "moved" else []
            difference = f", drift {entry['fire_iou_drift']:+.4f}" if "fire_iou_drift" in entry else ""
            print(
                f"{entry['model']} on {entry['data']}, {entry['split']}: fire_iou {entry['fire_iou']:.4f}{difference} "
                f"({told})"
            )
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
