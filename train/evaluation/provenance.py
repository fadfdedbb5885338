"""What a model learnt from, by its card: a figure on images that it was trained on says nothing of other fires."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import split_model
from train.data.fireseg import Pair, content_hash
from train.data.sources import DataSource
from train.data.splits import split_from_name, split_held_out


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
    if not isinstance(found, dict) or not isinstance(sets := found.get("sets"), list):
        return None
    return found if all(isinstance(one, dict) and isinstance(one.get("sha256"), str) for one in sets) else None


def seen(model: Path, source: DataSource, judging: Sequence[Pair]) -> list[str] | None:
    """The names of those images, of the ones that judge, which the model learnt from or chose its epoch by.

    None where that cannot be told: the model has no card that says, or the data is not, file by file, what it was then.
    """
    data = learnt_from(model)
    if data is None:
        return None
    could_be = [split_held_out(source.dataset.pairs)[0]]  # as a further set
    with contextlib.suppress(KeyError, TypeError, UserError):
        could_be.insert(0, list(split_from_name(source.dataset, data["split"]).train))
    if not any(overlap(learnt, judging) for learnt in could_be):
        return []  # whatever it learnt of this data, none of these: no need to read all of it
    known = {one["sha256"] for one in data["sets"]}
    for learnt in could_be:
        if content_hash(learnt) in known:
            return overlap(learnt, judging)
    return None


def overlap(learnt: Sequence[Pair], judging: Sequence[Pair]) -> list[str]:
    """The names of those that judge which are among those learnt."""
    names = {pair.name for pair in learnt}
    return [pair.name for pair in judging if pair.name in names]
