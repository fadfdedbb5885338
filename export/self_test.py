"""Write into a card what `edge` checks on a Pi: the SHA-256 of the flatbuffer, and the self-test."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from edge.errors import UserError
from edge.files import write_bytes
from edge.model.card import CARD_NAME, FLATBUFFER_SHA256, Card, attach, split_model
from edge.model.proof import flame_pixels
from edge.model.segmenter import Segmenter
from edge.model.self_test import SELF_TEST, check_maps, record


def with_self_test(path: Path, flatbuffer: bytes, card: Card) -> Card:
    """Return the card with the SHA-256 of the flatbuffer and the self-test, in place of those it had.

    `path` is that of the model, for errors. Raises `UserError` if this machine does not return the same maps twice.
    """
    plain = {key: value for key, value in card.items() if key not in (FLATBUFFER_SHA256, SELF_TEST)}
    segmenter = Segmenter(path, threads=1, runtime="litert", data=attach(flatbuffer, plain))
    recorded = record(segmenter)
    if record(segmenter) != recorded:
        raise UserError(f"{path} returns different maps for the same frames", "test this machine's memory")
    return plain | {FLATBUFFER_SHA256: hashlib.sha256(flatbuffer).hexdigest(), SELF_TEST: recorded}


def renew_card(path: Path) -> None:
    """Write SHA-256 and self-test into the card of a model file; the network and the rest of the card stay.

    Raises `UserError` if the file has no card or other files beside it, fails the self-test that it has, or finds no
    fire in the test pattern's flames: what is damaged would pass as sound from now on.
    """
    flatbuffer, card = split_model(path)
    if card is None:
        raise UserError(f"{path} has no card", "export it with `fireseg-export all` or `convert`")
    with zipfile.ZipFile(path) as archive:
        if others := sorted(set(archive.namelist()) - {CARD_NAME}):
            raise UserError(f"{path} holds {', '.join(others)} beside its card", "export the model again")
    segmenter = Segmenter(path, threads=1, runtime="litert")
    check_maps(segmenter)
    if not flame_pixels(segmenter):
        raise UserError(f"{path} detects no fire in the test pattern's flames", "export the model again")
    file, mode = path.resolve(), path.stat().st_mode
    write_bytes(file, attach(flatbuffer, with_self_test(path, flatbuffer, card)))
    file.chmod(mode)
