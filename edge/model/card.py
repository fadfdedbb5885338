"""The model card inside a `.tflite`: `fireseg.json`, in a ZIP archive appended to the flatbuffer.

This follows the TFLite metadata convention: interpreters ignore the archive, and `unzip -p model.tflite fireseg.json`
prints the card. It states the model's input, threshold, training and metrics, and the SHA-256 of the flatbuffer: all
bytes before the archive. `edge` refuses cards it cannot serve and damaged models.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from edge.errors import UserError, one_line
from edge.files import read_limited

CARD_NAME = "fireseg.json"
CARD_FORMAT = 1
FLATBUFFER_SHA256 = "flatbuffer_sha256"  # key; cards of older exports lack it
BUFFERS_FIELD, DATA_FIELD = 4, 0  # numbers in the tables Model and Buffer of TFLite's schema
ENTRY_MARK, ENTRY_HEADER_BYTES = b"PK\x03\x04", 30  # of a file in a ZIP archive
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # constant, so that the same card gives the same bytes on any day
INPUT_LAYOUT, INPUT_RANGE = "RGB", [0, 255]
MAX_MODEL_BYTES = 256 << 20  # a sparse or mistaken file must not fill the memory; a large U-Net in float32 has half
MAX_CARD_BYTES = 1 << 20
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others expand without a limit

Card = dict[str, Any]


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file. Raises `UserError` if it cannot be read or is too large."""
    remedy = "check the path" if path.suffix == ".tflite" else "expected base, small or a .tflite file"
    return read_limited(path, MAX_MODEL_BYTES, remedy, "model")


def split_model(path: Path, data: bytes | None = None) -> tuple[bytes, Card | None]:
    """Return the flatbuffer and the card of a `.tflite`; the card is None if it has none. Raises `UserError`.

    Args:
        data: the bytes of the file, if they were read before.

    Example:
        >>> flatbuffer, card = split_model(Path("models/fireseg-base-int8.tflite"))
        >>> card["threshold"]
        0.5
    """
    data = read_model(path) if data is None else data
    if data[4:8] != b"TFL3":
        raise UserError(f"{path} is not a TFLite model", "expected a .tflite file, as from `fireseg-export convert`")
    flatbuffer, card = _split(data, path)
    if card is not None:
        expected = check_card(card, path).get(FLATBUFFER_SHA256)
        if expected is not None and expected != hashlib.sha256(flatbuffer).hexdigest():
            raise UserError(f"{path} is damaged, its SHA-256 is not the one in its card", "copy or download it again")
    if not _is_complete(flatbuffer):
        raise UserError(f"{path} is cut short or damaged ({len(flatbuffer)} bytes)", "copy or download it again")
    return flatbuffer, card


def _split(data: bytes, path: Path) -> tuple[bytes, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive_start = min(entry.header_offset for entry in archive.infolist())
            if archive.namelist().count(CARD_NAME) > 1:
                raise ValueError("there are two")
            text = _read_entry(archive, archive.getinfo(CARD_NAME))
    except Exception as error:  # zipfile raises a dozen kinds for damaged, encrypted, unknown or other archives
        # A damaged file must not pass as a model without a card, nor one that is cut within the archive's first header.
        if CARD_NAME.encode() in data or ENTRY_MARK in data[-ENTRY_HEADER_BYTES - len(CARD_NAME) :]:
            problem = f"{path} is cut short or damaged, its card cannot be read ({error})"
            raise UserError(problem, "copy or download it again") from error
        return data, None  # keep other tools' metadata with the flatbuffer
    try:
        return data[:archive_start], json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the card {CARD_NAME} in {path} is not JSON ({error})", "export the model again") from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return a file of an archive. Raises ValueError if it is larger than a card, whatever its header says."""
    if entry.compress_type not in COMPRESSIONS:
        raise ValueError(f"compression method {entry.compress_type}")
    with archive.open(entry) as file:
        text = file.read(MAX_CARD_BYTES + 1)
    if max(len(text), entry.file_size) > MAX_CARD_BYTES:
        raise ValueError(f"more than {MAX_CARD_BYTES} bytes")
    return text


def check_card(card: Any, path: Path) -> Card:
    """Return the card if this version can serve it. Raises `UserError` naming the difference."""
    if not isinstance(card, dict) or not isinstance(card.get("input"), dict):
        raise UserError(f"the card in {path} has no input section", "export the model again")
    input_ = card["input"]
    for key, actual, expected in (
        ("format", card.get("format"), CARD_FORMAT),
        ("input.layout", input_.get("layout"), INPUT_LAYOUT),
        ("input.range", input_.get("range"), INPUT_RANGE),
    ):
        if actual != expected:
            shown = one_line(repr(actual))
            problem = f"the card in {path} has {key} {shown}, but this fireseg-edge supports {expected!r}"
            raise UserError(problem, "install the matching fireseg-edge, or export the model again")
    threshold = card.get("threshold")
    if not isinstance(threshold, int | float) or not 0 < threshold < 1:
        problem = f"the card in {path} states threshold {one_line(repr(threshold))}"
        raise UserError(problem, "expected a probability between 0 and 1")
    return card


def attach(flatbuffer: bytes, card: Card) -> bytes:
    """Return the bytes of a model file with the card. Deterministic."""
    file = io.BytesIO(flatbuffer)
    # Mode "a" keeps the flatbuffer and counts offsets from the file's start, as unzip expects.
    with zipfile.ZipFile(file, "a") as archive:
        entry = zipfile.ZipInfo(CARD_NAME, ZIP_DATE)
        entry.external_attr = 0o644 << 16
        entry.create_system = 3  # unix on every platform, for the same bytes
        archive.writestr(entry, json.dumps(card, indent=1, sort_keys=True), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _is_complete(flatbuffer: bytes) -> bool:
    """Return whether every constant ends inside the flatbuffer: tflite-runtime crashes on a cut file."""

    def number(form: str, at: int) -> int:
        return int(struct.unpack_from(form, flatbuffer, at)[0])

    def field(table: int, index: int) -> int | None:
        """Return the offset of a table's field; None if absent."""
        vtable = table - number("<i", table)
        if 4 + 2 * index >= number("<H", vtable):
            return None
        offset = number("<H", vtable + 4 + 2 * index)
        return table + offset if offset else None

    try:
        if (at := field(number("<I", 0), BUFFERS_FIELD)) is None:
            return False
        buffers = at + number("<I", at)
        for entry in range(buffers + 4, buffers + 4 + 4 * number("<I", buffers), 4):
            if (at := field(entry + number("<I", entry), DATA_FIELD)) is not None:
                data = at + number("<I", at)
                if data + 4 + number("<I", data) > len(flatbuffer):
                    return False
    except struct.error:
        return False
    return True
