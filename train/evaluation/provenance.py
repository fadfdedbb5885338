"""What a model was trained on, by its card: metrics on training images say nothing about other fires."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import split_model
from train.data.fireseg import Dataset, Pair, content_hash
from train.data.sources import ExtraSet
from train.data.splits import split_from_name, split_held_out
from train.model.losses import TEMPERATURE


def learnt_from(model: Path) -> dict[str, Any] | None:
    """Return the card's section on training data, with the hash of each set; None without a valid card.

    A `.tflite` contains its card. The card of a `.keras` is the `.json` beside it, valid only for that exact file.
    """
    if model.suffix == ".tflite":
        _, card = split_model(model)
        data = (card or {}).get("learnt_from")
    else:
        data = read_keras_card(model).get("data")
    if not isinstance(data, dict) or not isinstance(sets := data.get("sets"), list):
        return None
    return data if all(map(_is_set, sets)) else None


def read_keras_card(model: Path) -> dict[str, Any]:
    """Return the card beside a `.keras` file; empty without one that is valid for that exact file."""
    try:
        card = json.loads(model.with_suffix(".json").read_text())
        return card if card["sha256"] == sha256(model) else {}
    except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _is_set(entry: Any) -> bool:
    """Return whether an entry of a card names a training set by its hash and the number of its images."""
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        return False
    return type(entry.get("images", 0)) is int and all(isinstance(value, str | int) for value in entry.values())


def train_test_overlap(model: Path, dataset: Dataset, test: Sequence[Pair]) -> list[str] | None:
    """Return the names of the test images, part of `dataset`, that the model was trained or validated on.

    None if unknown: the model has no card, or the data is not byte for byte what the card names.
    """
    data = learnt_from(model)
    if data is None:
        return None
    training_sets = [split_held_out(dataset.pairs)[0]]  # as an extra set
    if any(entry.get("held_out_images") == 0 for entry in data["sets"]):
        training_sets.append(list(dataset.pairs))
    for name in sorted({str(entry.get("split", data.get("split"))) for entry in data["sets"]}):
        with contextlib.suppress(UserError, ValueError):
            training_sets.insert(0, list(split_from_name(dataset, name).train))
    if not any(_shared_names(training, test) for training in training_sets):
        return []  # no need to hash every file
    hashes = {entry["sha256"] for entry in data["sets"]}
    shared = [set(_shared_names(pairs, test)) for pairs in training_sets if content_hash(pairs) in hashes]
    return [pair.name for pair in test if any(pair.name in names for names in shared)] if shared else None


def warn_of_overlap(model: Path, dataset: Dataset, test: Sequence[Pair], name: str) -> list[str] | None:
    """Return `train_test_overlap`, and warn if there is one. `name` is that of the test set."""
    overlap = train_test_overlap(model, dataset, test)
    if overlap:
        warnings.warn(
            f"{model.name} was trained or validated on {len(overlap)} of the {len(test)} test images of {name}: "
            "these metrics say nothing about other fires; evaluate it on images that were held out",
            stacklevel=2,
        )
    return overlap


@dataclass(frozen=True)
class Start:
    """A trained model from which a training starts, the sets that it was trained on, and its metrics, by its card."""

    path: Path
    sets: list[dict[str, Any]]
    metrics: dict[str, Any]


def read_start(model: Path, dataset: Dataset, held_out: Sequence[Pair], extra_sets: Sequence[ExtraSet] = ()) -> Start:
    """Return the start of a training. Raises `UserError` if it was trained on a held-out image, or has no card.

    `held_out` are the test and validation images of `dataset`; extra sets hold out their own.

    Warns if names overlap but the data is not byte for byte what the card lists, and if its loss had no temperature.
    """
    data = learnt_from(model)
    if data is None:
        raise UserError(f"{model} has no card that lists its training sets", f"copy {model.stem}.json beside it")
    overlap = train_test_overlap(model, dataset, held_out)
    if overlap is None:
        warnings.warn(f"{model} was trained on other data and may have seen these test images", stacklevel=2)
    elif overlap:
        raise UserError(
            f"{model} was trained on {len(overlap)} of the test or validation images (first: {overlap[0]})",
            "pass the --split that it was trained on, and --validation 0",
        )
    for extra_set in extra_sets:
        if overlap := train_test_overlap(model, extra_set.dataset, extra_set.test):
            problem = f"{model} was trained on {len(overlap)} held-out images of {extra_set.title}"
            raise UserError(f"{problem} (first: {overlap[0]})", "pass a start that never saw them, or --no-hold-out")
    card = read_keras_card(model)
    if card.get("temperature") != TEMPERATURE:
        warnings.warn(
            f"{model} was trained by an earlier version and is overconfident; better retrain it", stacklevel=2
        )
    split = {"split": str(data.get("split"))}  # older cards name it once, for the set without a kind
    sets = [entry if "kind" in entry else split | entry for entry in data["sets"]]
    return Start(model, sets, card.get("metrics", {}))


def _shared_names(training: Sequence[Pair], test: Sequence[Pair]) -> list[str]:
    names = {pair.name for pair in training}
    return [pair.name for pair in test if pair.name in names]
