"""The model card inside a `.tflite`: `fireseg.json`, in a ZIP archive appended to the flatbuffer.

This is how the TFLite metadata convention attaches files: interpreters ignore what follows the flatbuffer, and
`unzip -p model.tflite fireseg.json` shows the card anywhere. A card says what the model takes, where fire begins, what
it was made from and how well it did; `edge` refuses a model whose card asks for what it cannot do.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from edge.errors import UserError

CARD_NAME = "fireseg.json"
CARD_FORMAT = 1
# Fields of the tables Model and Buffer in TFLite's schema.
BUFFERS_FIELD, DATA_FIELD = 4, 0
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can hold: the same card gives the same bytes on any day

INPUT_LAYOUT = "RGB"
INPUT_RANGE = [0, 255]

Card = dict[str, Any]


def split_model(path: Path) -> tuple[bytes, Card | None]:
    """Read a `.tflite`: its flatbuffer and its card, None where it carries none. Raises `UserError`."""
    flatbuffer, card = _divide(path)
    if not _is_whole(flatbuffer):
        raise UserError(f"{path} is cut short or damaged ({len(flatbuffer)} bytes)", "get the whole file again")
    return flatbuffer, None if card is None else check_card(card, path)


def _divide(path: Path) -> tuple[bytes, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"model {path} could not be read ({error.strerror})", "check the path") from error
    if data[4:8] != b"TFL3":
        raise UserError(
            f"{path} is not a TFLite model", "expected a .tflite file as `fireseg-export convert` writes it"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            begins = min((entry.header_offset for entry in archive.infolist()), default=len(data))
            if CARD_NAME not in archive.namelist():
                return data, None  # other people's metadata stays with its flatbuffer
            card = json.loads(archive.read(CARD_NAME))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if CARD_NAME.encode() in data:  # a file without its end must not pass for one that never had a card
            raise UserError(
                f"{path} is cut short or damaged, its card cannot be read ({error})", "get the whole file again"
            ) from error
        return data, None
    except ValueError as error:
        raise UserError(f"the card {CARD_NAME} in {path} is not JSON ({error})", "export the model again") from error
    return data[:begins], card


def check_card(card: Any, path: Path) -> Card:
    """Return the card if this version can serve it, else raise `UserError` naming what differs."""
    if not isinstance(card, dict) or not isinstance(card.get("input"), dict):
        raise UserError(
            f"the card in {path} has no input section", "export the model again with `fireseg-export convert`"
        )
    expected = {"format": CARD_FORMAT, "input.layout": INPUT_LAYOUT, "input.range": INPUT_RANGE}
    found = {
        "format": card.get("format"),
        "input.layout": card["input"].get("layout"),
        "input.range": card["input"].get("range"),
    }
    for key, value in expected.items():
        if found[key] != value:
            raise UserError(
                f"the card in {path} says {key} {found[key]!r}, but this fireseg-edge serves {value!r}",
                "install the fireseg-edge that matches it, or export the model again",
            )
    threshold = card.get("threshold")
    if not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise UserError(f"the card in {path} says threshold {threshold!r}", "expected a probability between 0 and 1")
    return card


def attach(flatbuffer: bytes, card: Card) -> bytes:
    """The bytes of a model file that carries the card. Deterministic."""
    file = io.BytesIO(flatbuffer)
    # Mode "a" leaves what is there and counts offsets from the file's start, so that unzip needs no repair.
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(CARD_NAME, ZIP_DATE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        entry.create_system = 3  # unix, wherever it was written
        archive.writestr(entry, json.dumps(card, indent=1, sort_keys=True))
    return file.getvalue()


def _is_whole(flatbuffer: bytes) -> bool:
    """Whether every constant lies inside of the flatbuffer: tflite-runtime does not look, and crashes on a cut file."""

    def number(form: str, at: int) -> int:
        return int(struct.unpack_from(form, flatbuffer, at)[0])

    def field(table: int, index: int) -> int | None:
        """Where a table keeps its field of this index; None where it has none."""
        vtable = table - number("<i", table)
        if 4 + 2 * index >= number("<H", vtable):
            return None
        offset = number("<H", vtable + 4 + 2 * index)
        return table + offset if offset else None

    try:
        if (at := field(number("<I", 0), BUFFERS_FIELD)) is None:
            return False
        buffers = at + number("<I", at)
        for slot in range(buffers + 4, buffers + 4 + 4 * number("<I", buffers), 4):
            if (at := field(slot + number("<I", slot), DATA_FIELD)) is not None:
                data = at + number("<I", at)
                if data + 4 + number("<I", data) > len(flatbuffer):
                    return False
    except struct.error:
        return False
    return True
