"""The hash and the self-test in the card of a shipped network: written once, and what they refuse on a Pi."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.model.card import Card, attach, split_model
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_maps
from export.self_test import renew_card, with_self_test
from tests.export.interpreting import SHIPPED
from tests.support.run_export import Run

NEW_KEYS = {"flatbuffer_sha256", "self_test"}
FLIPPED_BITS = 64


@pytest.fixture(scope="module")
def card() -> Card:
    """The card of the small int8 model, without hash and self-test."""
    card = split_model(SHIPPED / "fireseg-small-int8.tflite")[1]
    assert card is not None
    return {key: value for key, value in card.items() if key not in NEW_KEYS}


@pytest.fixture(scope="module")
def tested(shipped_int8: bytes, card: Card) -> Card:
    return with_self_test(Path("model.tflite"), shipped_int8, card)


def flipped(flatbuffer: bytes) -> bytes:
    """Return a network with flipped bits."""
    data, rng = np.frombuffer(flatbuffer, np.uint8).copy(), np.random.default_rng(0)
    data[rng.integers(len(data) // 4, len(data) // 2, FLIPPED_BITS)] ^= 1 << 6
    return data.tobytes()


def test_the_new_keys_come_beside_the_old_ones_and_are_small(shipped_int8: bytes, card: Card, tested: Card) -> None:
    assert {key: value for key, value in tested.items() if key not in NEW_KEYS} == card
    assert tested.keys() - card.keys() == NEW_KEYS
    assert tested["flatbuffer_sha256"] == hashlib.sha256(shipped_int8).hexdigest()
    assert len(set(tested["self_test"]["xnnpack_sha256"])) == 8
    assert len(attach(shipped_int8, tested)) - len(attach(shipped_int8, card)) < 2000
    assert with_self_test(Path("model.tflite"), shipped_int8, tested) == tested


def test_a_sound_network_passes_its_self_test_and_one_with_flipped_bits_is_refused_at_load(
    shipped_int8: bytes, tested: Card
) -> None:
    path, damaged = Path("model.tflite"), flipped(shipped_int8)
    assert "all 8 maps" in check_maps(Segmenter(path, threads=1, data=attach(shipped_int8, tested)))
    with pytest.raises(UserError, match=r"model\.tflite is damaged, its SHA-256 is not the one in its card"):
        Segmenter(path, threads=1, data=attach(damaged, tested))


def test_the_command_renews_cards_and_keeps_the_networks(
    run_here: Run, shipped_int8: bytes, card: Card, tested: Card, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(attach(shipped_int8, card))
    for _ in range(2):
        done = run_here("self-test", path)
        assert (done.returncode, done.stdout) == (0, f"{path}  {path.stat().st_size / 1e6:.2f} MB\n")
        assert split_model(path) == (shipped_int8, tested)
        assert path.read_bytes() == attach(shipped_int8, tested)


def test_a_link_to_a_model_stays_a_link(shipped_int8: bytes, card: Card, tested: Card, tmp_path: Path) -> None:
    model, link = tmp_path / "model.tflite", tmp_path / "link.tflite"
    model.write_bytes(attach(shipped_int8, card))
    link.symlink_to(model.name)
    renew_card(link)
    assert link.is_symlink()
    assert split_model(model) == (shipped_int8, tested)


def test_the_mode_of_the_file_stays(shipped_int8: bytes, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(attach(shipped_int8, card))
    path.chmod(0o600)
    renew_card(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_model_that_fails_its_self_test_or_is_blind_is_not_renewed(
    shipped_int8: bytes, card: Card, tested: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tflite"
    other = tested["self_test"] | {"xnnpack_sha256": None, "cells": 8 * [64 * "00"]}
    path.write_bytes(attach(shipped_int8, tested | {"self_test": other}))
    with pytest.raises(UserError, match=r"model\.tflite computes wrong maps"):
        renew_card(path)
    path.write_bytes(attach(shipped_int8, card))
    monkeypatch.setattr("export.self_test.flame_pixels", lambda _: 0)
    with pytest.raises(UserError, match=r"model\.tflite detects no fire in the test pattern's flames"):
        renew_card(path)


def test_other_files_in_the_archive_are_not_lost(shipped_int8: bytes, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(attach(shipped_int8, card))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "fire")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"model\.tflite holds labels\.txt beside its card"):
        renew_card(path)
    assert path.read_bytes() == before


def test_a_model_without_a_card_or_with_damage_is_refused_and_stays(
    shipped_int8: bytes, tested: Card, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    for data, message in (
        (shipped_int8, r"has no card: export it with"),
        (attach(flipped(shipped_int8), tested), "is damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"model\.tflite {message}"):
            renew_card(path)
        assert path.read_bytes() == data
