"""Damaged inputs of each kind. A function returns the bytes of one file, the same for the same random numbers."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from random import Random
from typing import Any

import cv2

from benchmarks.fuzz.mutate import INTEGERS, damage, damage_words, resize_header
from benchmarks.models import MODELS
from edge.camera.pattern import PatternCamera
from edge.config import SECTIONS
from edge.images import encode_jpeg, to_rgb
from edge.model.card import CARD_NAME, FLATBUFFER_SHA256, attach, split_model

SUFFIXES = (".jpg", ".png", ".webp", ".bmp", ".tiff")
BOMB_MB, BOMB_SIDE, NESTED = 600, 16_384, 100_000
HEADERS = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
ZONE, POLYGON = '"stove"', "[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]"
EVENT = {"type": "event", "id": "20261122T120000Z-frame-abcd", "number": 1, "kind": "start", "zone": "frame"}
HOSTILE_JSON = (
    b"[" * NESTED,
    b'{"a":' * NESTED,
    b'{"format": ' + b"9" * 5000 + b"}",
    b"",
    b"\xff\xfe",
    b"NaN",
    bytes(64),
)
VALUES: tuple[Any, ...] = (
    *INTEGERS, None, True, "", "x", "a" * 5000, "\r\nX: y", "\x1b[2J", "\ud800", -1, 0.5, 1e308, 10**400,
    [], {}, [[0.1, 0.1]], {"a": {"b": 1}}, "http://[::1", "rtsp://" + "h" * 5000,
)  # fmt: skip
TOML_VALUES = (
    "9" * 400, "9" * 4500, "[" * 20_000, "{a=" * 5000, "nan", "-inf", "1e999", '"\\u001b[2J"', '"\ufeff"', '"""',
    "1979-05-27", "[[" + "9" * 400 + ", 0], [0, 1], [1, 0]]",
)  # fmt: skip


def model(rng: Random) -> bytes:
    """Return a model whose network is damaged and whose card is intact."""
    network, card_ = _model(rng.choice(("small-int8", "small-float16")))
    return attach(rng.choice((damage, damage_words, damage_words))(network, rng), card_)


def card(rng: Random) -> bytes:
    """Return an intact network with a damaged card, a bomb as card, or a damaged archive around the card."""
    network, whole = _model("small-int8")
    text = rng.choice((*HOSTILE_JSON, *[_damaged_json(whole, rng)] * len(HOSTILE_JSON)))
    choice = rng.randrange(8)
    archive = _card_bomb() if choice == 0 else _zipped(text, rng.choice((0, 8, 8, 12, 14)))
    return network + (damage(archive, rng) if choice < 3 else archive)


def configuration(rng: Random, without: Collection[str] = ()) -> bytes:
    """Return a TOML file with keys of three tables, most at their defaults, and sometimes damage."""

    def value(default: str) -> str:
        return rng.choice((default, default, default, rng.choice(TOML_VALUES), json.dumps(rng.choice(VALUES))))

    lines = []
    for name, kind in rng.sample(sorted(item for item in SECTIONS.items() if item[0] not in without), 3):
        keys = rng.sample(fields(kind), min(2, len(fields(kind))))
        lines += [f"[{name}]", *(f"{key.name} = {value(json.dumps(key.default))}" for key in keys)]
    if rng.random() < 0.5:
        lines += ["[[zones]]", f"name = {value(ZONE)}", f"polygon = {value(POLYGON)}"]
    data = "\n".join(lines).encode(errors="replace")
    return damage(data, rng) if rng.random() < 0.2 else data


def picture(rng: Random) -> bytes:
    data = rng.choice(_pictures())
    if rng.random() < 0.4:
        data = resize_header(data, rng)
    return damage(data, rng) if rng.random() < 0.7 else data


def outbox_item(rng: Random) -> bytes:
    data = rng.choice((*HOSTILE_JSON, *[_damaged_json(EVENT, rng)] * len(HOSTILE_JSON)))
    return damage(data, rng) if rng.random() < 0.3 else data


def stream(rng: Random) -> bytes:
    """Return the answer of a network camera: headers, and some pictures between delimiters."""
    data = HEADERS
    for _ in range(rng.randint(1, 5)):
        jpeg = picture(rng) if rng.random() < 0.3 else _pictures()[0]
        length = rng.choice((len(jpeg), len(jpeg), len(jpeg) // 2, rng.choice(INTEGERS), -1, "9" * 5000))
        stated = rng.choice((f"Content-Length: {length}\r\n", "")).encode()
        data += b"--frame\r\nContent-Type: image/jpeg\r\n" + stated + b"\r\n" + jpeg + b"\r\n"
    return damage(data, rng) if rng.random() < 0.8 else data


@cache
def _model(name: str) -> tuple[bytes, dict[str, Any]]:
    network, card_ = split_model(MODELS / f"fireseg-{name}.tflite")
    assert card_
    return network, {key: value for key, value in card_.items() if key != FLATBUFFER_SHA256}  # which refuses damage


def _zipped(text: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        archive.writestr(CARD_NAME, text)
    return file.getvalue()


@cache
def _card_bomb() -> bytes:
    return _zipped(bytes(BOMB_MB << 20), zipfile.ZIP_DEFLATED)


@cache
def _pictures() -> list[bytes]:
    """Return a small picture of each format, and a PNG of 35 kB with 2^28 pixels."""
    frame = to_rgb(PatternCamera(fps=1).frame(20.0))
    encoded = [cv2.imencode(suffix, frame)[1].tobytes() for suffix in SUFFIXES]
    progressive = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    bomb = b"\x89PNG\r\n\x1a\n"
    for name, data in (
        (b"IHDR", struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes((BOMB_SIDE // 8 + 1) * BOMB_SIDE))),
        (b"IEND", b""),
    ):
        bomb += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return [encode_jpeg(frame), *encoded, progressive, bomb]


def _damaged_json(value: dict[str, Any], rng: Random) -> bytes:
    """Return a copy with one value exchanged or gone, maybe inside, as JSON."""
    result = table = json.loads(json.dumps(value))
    while (inner := [item for item in table.values() if isinstance(item, dict) and item]) and rng.random() < 0.5:
        table = rng.choice(inner)
    key = rng.choice(sorted(table))
    del table[key]
    if rng.random() < 0.8:
        table[key] = rng.choice(VALUES)
    return json.dumps(result).encode()
