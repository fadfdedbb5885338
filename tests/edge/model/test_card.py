"""The card inside a model file: readable anywhere, ignored by interpreters, refused if unsupported."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import UserError
from edge.model.card import CARD_NAME, FLATBUFFER_SHA256, MAX_CARD_BYTES, Card, attach, split_model
from edge.model.runtime import find_runtime


@pytest.fixture(scope="module")
def flatbuffer(models: dict[str, Path]) -> bytes:
    return split_model(models["int8"])[0]


def with_archive(flatbuffer: bytes, files: dict[str, str]) -> bytes:
    """A flatbuffer with other files appended, as other tools do."""
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def changed(card: Card, key: str, value: Any) -> Card:
    """A copy of the card with another value. `input.` prefixes a key of that section."""
    card = copy.deepcopy(card)
    section, key = (card["input"], key.removeprefix("input.")) if key.startswith("input.") else (card, key)
    section[key] = value
    return card


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_an_attached_card_is_read_back_with_its_flatbuffer(tmp_path: Path, flatbuffer: bytes, card: Card) -> None:
    card = card | {"encoder": "mobilenetv2", "note": "21 °C"}
    assert split_model(written(tmp_path / "model.tflite", attach(flatbuffer, card))) == (flatbuffer, card)


def test_a_card_gives_the_same_bytes_after_the_flatbuffer_in_any_key_order(flatbuffer: bytes, card: Card) -> None:
    reordered = dict(reversed(card.items()))
    assert list(reordered) != list(card)
    assert attach(flatbuffer, card) == attach(flatbuffer, reordered)
    assert attach(flatbuffer, card).startswith(flatbuffer)


def test_zipfile_reads_the_card_from_the_model(models: dict[str, Path], card: Card) -> None:
    with zipfile.ZipFile(models["int8"]) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [CARD_NAME]
        assert json.loads(archive.read(CARD_NAME)) == card


@pytest.mark.skipif(not shutil.which("unzip"), reason="unzip is not installed")
def test_unzip_reads_the_card_from_the_model_without_complaint(models: dict[str, Path], card: Card) -> None:
    printed = subprocess.run(["unzip", "-p", models["int8"], CARD_NAME], capture_output=True, check=True)
    assert json.loads(printed.stdout) == card
    checked = subprocess.run(["unzip", "-tq", models["int8"]], capture_output=True, text=True, check=True)
    assert checked.stderr == "", "unzip warns unless offsets count from the file's start"


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_an_interpreter_computes_the_same_with_and_without_the_card(models: dict[str, Path], kind: str) -> None:
    outputs = []
    for model in (split_model(models[kind])[0], models[kind].read_bytes()):
        interpreter = find_runtime().interpreter(model, 1)
        input_ = interpreter.get_input_details()[0]
        frame = np.random.default_rng(0).integers(0, 256, input_["shape"]).astype(input_["dtype"])
        interpreter.set_tensor(input_["index"], frame)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert np.array_equal(*outputs)


@pytest.mark.parametrize("metadata", [{}, {"labelmap.txt": "background\nfire\n"}], ids=["plain", "other metadata"])
def test_a_model_without_a_card_is_read_unchanged(tmp_path: Path, flatbuffer: bytes, metadata: dict[str, str]) -> None:
    data = with_archive(flatbuffer, metadata) if metadata else flatbuffer
    assert split_model(written(tmp_path / "model.tflite", data)) == (data, None)


def test_a_card_is_read_beside_the_metadata_of_other_tools(tmp_path: Path, flatbuffer: bytes, card: Card) -> None:
    data = attach(with_archive(flatbuffer, {"labelmap.txt": "background\nfire\n"}), card)
    assert split_model(written(tmp_path / "both.tflite", data)) == (flatbuffer, card)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", None, r"format None, .* supports 1"),
        ("input.layout", "BGR", r"input\.layout 'BGR', .* supports 'RGB'"),
        ("input.range", [-1, 1], r"input\.range \[-1, 1\], .* supports \[0, 255\]"),
        ("threshold", 1.5, r"threshold 1\.5"),
        ("threshold", "0.5", r"threshold '0\.5'"),
        ("threshold", None, r"threshold None"),
        ("threshold", "a" * 900_000, r"threshold 'aaa"),
        ("input.layout", "a" * 900_000, r"input\.layout 'aaa"),
        ("input", None, "no input section"),
        ("input", "32x48", "no input section"),
    ],
)
def test_an_unsupported_card_is_refused_naming_the_difference(
    tmp_path: Path, flatbuffer: bytes, card: Card, key: str, value: Any, message: str
) -> None:
    path = written(tmp_path / "model.tflite", attach(flatbuffer, changed(card, key, value)))
    with pytest.raises(UserError, match=rf"model\.tflite .*{message}") as raised:
        split_model(path)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("text", ["{", "", '{"format": 1,}', "\x00\xff", "[1, 2]"])
def test_a_card_that_is_not_a_json_object_is_refused(tmp_path: Path, flatbuffer: bytes, text: str) -> None:
    path = written(tmp_path / "model.tflite", with_archive(flatbuffer, {CARD_NAME: text}))
    with pytest.raises(UserError, match=r"model\.tflite (is not JSON|has no input section).*export the model again"):
        split_model(path)


@pytest.mark.parametrize("missing_bytes", [1, 20, 22, 60, 120])
def test_a_file_without_the_end_of_its_card_is_refused(
    tmp_path: Path, flatbuffer: bytes, card: Card, missing_bytes: int
) -> None:
    # The directory of a ZIP is at its end: a reader would otherwise see no card at all.
    path = written(tmp_path / "short.tflite", attach(flatbuffer, card)[:-missing_bytes])
    with pytest.raises(UserError, match=r"short\.tflite is cut short"):
        split_model(path)


def test_a_file_cut_in_the_first_header_of_its_card_is_refused(tmp_path: Path, flatbuffer: bytes, card: Card) -> None:
    path, data = tmp_path / "short.tflite", attach(flatbuffer, card)
    for kept in range(4, 60):
        path.write_bytes(data[: len(flatbuffer) + kept])
        with pytest.raises(UserError, match=r"short\.tflite is cut short or damaged, its card cannot be read"):
            split_model(path)


def test_two_cards_are_refused(tmp_path: Path, flatbuffer: bytes, card: Card) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(attach(flatbuffer, card))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(CARD_NAME, json.dumps(card | {"threshold": 0.95}))
    with pytest.raises(UserError, match=r"two\.tflite .*its card cannot be read \(there are two\)"):
        split_model(path)


def test_a_card_with_a_flipped_bit_is_refused(tmp_path: Path, flatbuffer: bytes, card: Card) -> None:
    data = bytearray(attach(flatbuffer, card))
    data[len(flatbuffer) + 30 + len(CARD_NAME) + 8] ^= 0x10  # in the compressed card, after its local header
    with pytest.raises(UserError, match=r"flipped\.tflite"):
        split_model(written(tmp_path / "flipped.tflite", bytes(data)))


@pytest.fixture(scope="module")
def hashed(flatbuffer: bytes, card: Card) -> bytes:
    """A model file whose card has the SHA-256 of the flatbuffer."""
    return attach(flatbuffer, card | {FLATBUFFER_SHA256: hashlib.sha256(flatbuffer).hexdigest()})


def test_a_network_with_flipped_bits_is_refused_by_the_hash_in_its_card(
    tmp_path: Path, flatbuffer: bytes, hashed: bytes
) -> None:
    path, rng = tmp_path / "flipped.tflite", np.random.default_rng(0)
    assert split_model(path, hashed)[0] == flatbuffer
    for bits in (1, 1, 64):
        data = np.frombuffer(hashed, np.uint8).copy()
        data[rng.integers(len(flatbuffer) // 2, len(flatbuffer), bits)] ^= 1 << 6  # constants: it loads nevertheless
        with pytest.raises(UserError, match=r"flipped\.tflite is damaged, .*SHA-256 .*: copy or download it again"):
            split_model(path, data.tobytes())


def test_no_flipped_bit_of_the_archive_passes_as_another_network_or_card(flatbuffer: bytes, hashed: bytes) -> None:
    sound, refused = split_model(Path("sound.tflite"), hashed), 0
    for at in range(len(flatbuffer), len(hashed)):
        data = bytearray(hashed)
        data[at] ^= 1 << at % 8
        try:
            assert split_model(Path("flipped.tflite"), bytes(data)) == sound, at
        except UserError:
            refused += 1
    assert refused > (len(hashed) - len(flatbuffer)) // 2


@pytest.mark.parametrize("content", [b"", b"TFL", b"<!DOCTYPE html><title>404</title>", b"PK\x03\x04" + b"\x00" * 100])
def test_another_kind_of_file_is_refused_with_a_hint_to_convert_it(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "best.keras", content)
    with pytest.raises(UserError, match=r"best\.keras is not a TFLite model.*fireseg-export convert"):
        split_model(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.tflite could not be read .*check the path"):
        split_model(tmp_path / "gone.tflite")
    with pytest.raises(UserError, match="could not be read"):
        split_model(tmp_path)


def archived(flatbuffer: bytes, text: bytes, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a", compression) as archive:
        archive.writestr(CARD_NAME, text)
    return file.getvalue()


def patched(data: bytes, flags: int = 0, method: int | None = None, size: int | None = None) -> bytes:
    """Return an archive with other fields in the headers of its last file."""
    changed = bytearray(data)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        header = data.rindex(signature)
        changed[header + at] |= flags
        if method is not None:
            changed[header + at + 2 : header + at + 4] = method.to_bytes(2, "little")
        if size is not None:
            changed[header + at + 16 : header + at + 20] = size.to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: patched(archived(model, b"{}"), flags=1),  # encrypted
        lambda model: patched(archived(model, b"{}"), method=99),
        lambda model: archived(model, b"{}", compression=zipfile.ZIP_LZMA),
        lambda model: archived(model, b"[" * 100_000),
        lambda model: archived(model, b'{"format": ' + b"1" * 5000 + b"}"),
        lambda model: archived(model, b" " * (MAX_CARD_BYTES + 1)),
        lambda model: patched(archived(model, b" " * (MAX_CARD_BYTES + 1)), size=100),
        lambda model: patched(archived(model, b"{}"), size=1 << 31),
    ],
    ids=["encrypted", "unknown method", "lzma", "nested", "digits", "too large", "larger than stated", "states 2 GB"],
)
def test_a_hostile_archive_is_one_error(tmp_path: Path, flatbuffer: bytes, spoil: Callable[[bytes], bytes]) -> None:
    path = written(tmp_path / "model.tflite", spoil(flatbuffer))
    with pytest.raises(
        UserError, match=r"model\.tflite (is cut short or damaged, its card cannot be read|is not JSON)"
    ):
        split_model(path)


def test_a_card_that_expands_a_thousandfold_takes_little_memory(tmp_path: Path, flatbuffer: bytes) -> None:
    path = written(tmp_path / "bomb.tflite", archived(flatbuffer, bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more than 1048576 bytes"):
            split_model(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_large_or_not_regular_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "sparse.tflite", b"\x1c\0\0\0TFL3")
    os.truncate(path, 60 << 30)
    with pytest.raises(UserError, match=r"sparse\.tflite has 64424\.5 MB: expected at most 268\.4 MB"):
        split_model(path)
    os.mkfifo(tmp_path / "fifo.tflite")
    with pytest.raises(UserError, match="not a regular file"):
        split_model(tmp_path / "fifo.tflite")
    with pytest.raises(UserError, match="could not be read"):
        split_model(tmp_path / ("x" * 5000))
    with pytest.raises(UserError, match="could not be read"):
        split_model(Path("zero\0byte"))
