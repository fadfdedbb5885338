"""Drift of every shipped model on this machine, written to the ledger: `make drift`.

Fails if a model fails the export's gate, or if a figure changed although model, data and versions are the same. To
write such a change to the ledger, pass `--accept`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from benchmarks import drift
from benchmarks.ledger import append, read, unexplained_changes
from benchmarks.models import Family, families
from train.data.sources import FETCHED_DIR, SYNTHETIC_COUNT, SYNTHETIC_DIR, SYNTHETIC_SEED, DataSource, find_data
from train.data.splits import make_split
from train.evaluation.evaluate import Predictions
from train.synthetic.generate import generate


@cache
def loaded(family: str) -> drift.Loaded:
    return drift.load(next(candidate for candidate in families() if candidate.name == family))


@cache
def source(name: str) -> DataSource:
    if name == "synthetic":
        generate(SYNTHETIC_DIR, SYNTHETIC_COUNT, SYNTHETIC_SEED)
        return find_data(SYNTHETIC_DIR)
    named = os.environ.get("FIRESEG_DIR")
    if not named and not FETCHED_DIR.is_dir():
        pytest.skip("FireSeg is missing: set FIRESEG_DIR, or download it with `fireseg-train fetch`")
    return find_data(Path(named or FETCHED_DIR))


@cache
def predictions(family: str, data: str) -> dict[str, Predictions]:
    """Return every model's masks on the whole test set, of which each split uses a part."""
    return loaded(family).evaluate(make_split(source(data).dataset, "official").test)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("data", "split_name"), [("fireseg", "official"), ("fireseg", "official-clean"), ("synthetic", "official")]
)
def test_iou_drift(
    family: Family, data: str, split_name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    split = make_split(source(data).dataset, split_name)
    of_split = {kind: whole.of(split.test) for kind, whole in predictions(family.name, data).items()}
    failures: list[str] = []
    with capsys.disabled():
        print()
        for entry in drift.entries(loaded(family.name), of_split, source(data), split):
            changes = unexplained_changes(entry, read())
            failures += drift.gate_failures(entry)
            if changes and not request.config.getoption("--accept"):
                failures += changes
                outcome = "changed"
            else:
                outcome = "new line" if append(entry) else "unchanged"
            difference = f", drift {entry['fire_iou_drift']:+.4f}" if "fire_iou_drift" in entry else ""
            title = f"{entry['model']} on {entry['data']}, {entry['split']}"
            print(f"{title}: fire_iou {entry['fire_iou']:.4f}{difference} ({outcome})")
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
