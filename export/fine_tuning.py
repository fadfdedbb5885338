"""Compare a fine-tuned model with the model that its training started from, on FireSeg's official test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import one_line
from train.data.splits import Split
from train.evaluation.provenance import read_keras_card

TEST = "official"


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuned model and its start. `drop` is None if the two were not measured on the same images."""

    start: str
    """File name of the model that the training started from."""
    drop: float | None
    """Loss in fire_iou; negative for a gain."""


def compare_with_start(model: Path, split: Split, fire_iou: float) -> FineTuning | None:
    """Return the loss of a model against its start; None if its card names no start.

    Args:
        split: the test that the export measured.
        fire_iou: of the model there; on another split, that on its card counts.
    """
    card = read_keras_card(model)
    start = card.get("start")
    if not isinstance(start, dict):
        return None
    before = _official(start)
    after = {"sha256": split.sha256, "fire_iou": fire_iou} if before.get("sha256") == split.sha256 else _official(card)
    drop = None
    if before and before.get("sha256") == after.get("sha256"):
        drop = before["fire_iou"] - after["fire_iou"]
    return FineTuning(one_line(str(start.get("name"))), drop)


def _official(card: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics on the official test in a card; empty without them."""
    metrics = card.get("metrics")
    official = metrics.get(TEST) if isinstance(metrics, dict) else None
    is_measured = isinstance(official, dict) and isinstance(official.get("fire_iou"), float)
    return official if is_measured else {}  # type: ignore[return-value]
