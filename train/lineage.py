"""What a model learnt from, by its card: a figure on images that it was trained on says nothing of other fires."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.card import split_model
from edge.errors import UserError
from edge.files import sha256
from train.datasets import Source
from train.fireseg import Pair, content_hash
from train.splits import split_called


def learnt_from(model: Path) -> dict[str, Any] | None:
    """The `data` section of a model's card, with the hash of each set. None where the model has no such card.

    A `.tflite` carries it; a `.keras` has it in the `.json` beside it, which counts only if it is of this very file.
    """
    if model.suffix == ".tflite":
        _, inside = split_model(model)
        found = (inside or {}).get("learnt_from")
    else:
        try:
            beside = json.loads(model.with_suffix(".json").read_text())
            found = beside["data"] if beside["sha256"] == sha256(model) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return found if isinstance(found, dict) else None


def seen(model: Path, source: Source, judging: Sequence[Pair]) -> list[str]:
    """The names of those images, of the ones that judge, which the model learnt from, as far as its card tells.

    Empty too where the model learnt from another data set, or has no card that says.
    """
    data = learnt_from(model) or {}
    try:
        learnt = split_called(source.dataset, data["split"]).train
        if content_hash(learnt) != data["sets"][0]["sha256"]:
            return []
    except (KeyError, IndexError, TypeError, UserError):
        return []
    names = {pair.name for pair in learnt}
    return [pair.name for pair in judging if pair.name in names]
