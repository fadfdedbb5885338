"""Write into a card what `edge` checks on a Pi: the SHA-256 of the flatbuffer, and the self-test."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge.errors import UserError
from edge.files import write_bytes
from edge.model.card import FLATBUFFER_SHA256, Card, attach, split_model
from edge.model.segmenter import Segmenter
from edge.model.self_test import SELF_TEST, record


def with_self_test(path: Path, flatbuffer: bytes, card: Card) -> Card:
    """Return the card with the SHA-256 of the flatbuffer and the self-test, in place of those it had.

    `path` is that of the model, for errors.
    """
    plain = {key: value for key, value in card.items() if key not in (FLATBUFFER_SHA256, SELF_TEST)}
    segmenter = Segmenter(path, threads=1, runtime="litert", data=attach(flatbuffer, plain))
    return plain | {FLATBUFFER_SHA256: hashlib.sha256(flatbuffer).hexdigest(), SELF_TEST: record(segmenter)}


def renew_card(path: Path) -> None:
    """Write SHA-256 and self-test into the card of a model file; the network and the rest of the card stay.

    Raises `UserError` if the file has no card, or is not what its card says.
    """
    flatbuffer, card = split_model(path)
    if card is None:
        raise UserError(f"{path} has no card", "export it with `fireseg-export all` or `convert`")
    write_bytes(path.resolve(), attach(flatbuffer, with_self_test(path, flatbuffer, card)))
