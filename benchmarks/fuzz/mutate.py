"""Damage to bytes, to the structure of a flatbuffer, and to sizes in picture headers."""

from __future__ import annotations

import struct
import zlib
from random import Random

import numpy as np

INTEGERS = (0, 1, 2, 3, 4, 7, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
SIDES = (0, 1, 2, 7, 100, 4000, 12_000, 16_384, 30_000, 32_767, 65_500, 65_535)
HEADER_BYTES = 4096
SMALL = 4096
"""A 32-bit word below this is likely a size, an offset or an index."""


def damage(data: bytes, rng: Random) -> bytes:
    """Return the bytes after one to four steps of damage, most of them near the start or the end."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        last = max(0, len(result) - 1)
        near = min(last, rng.randrange(HEADER_BYTES))
        at, size = rng.choice((near, near, last - near, rng.randint(0, last))), rng.choice((1, 4, 64, HEADER_BYTES))
        step = rng.randrange(7)
        if step < 2:
            word = rng.choice((*INTEGERS, rng.getrandbits(32))).to_bytes(4, rng.choice(("little", "big")))
            result[at : at + 4] = word[: len(result) - at]
        elif step == 2 and result:
            result[at] ^= 1 << rng.randrange(8)
        elif step == 3:
            result[at : at + size] = bytes([rng.choice((0, 255))]) * len(result[at : at + size])
        elif step == 4:
            del result[at : rng.choice((at + size, at + size, len(result)))]
        elif step == 5:
            result[at:at] = result[at : at + size] * rng.choice((1, 2, 50))
        else:
            result[at:at] = rng.choice((b"\r\n", b"\0", b"--", b"[", b'"', b"9" * 5000, rng.randbytes(16), b"\xff\xd9"))
    return bytes(result)


def damage_words(data: bytes, rng: Random) -> bytes:
    """Return a flatbuffer with one to three of its small integers changed, which are its structure."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").copy()
    offsets = np.flatnonzero((words > 0) & (words < SMALL))
    for _ in range(rng.randint(1, 3)):
        offset = int(offsets[rng.randrange(len(offsets))])
        flipped = int(words[offset]) ^ 1 << rng.randrange(32)
        words[offset] = rng.choice((rng.choice(INTEGERS), rng.randrange(SMALL), flipped))
    return words.tobytes() + data[len(words) * 4 :]


def resize_header(data: bytes, rng: Random) -> bytes:
    """Return a picture whose header states another width and height; other formats unchanged."""
    width, height, result = rng.choice(SIDES), rng.choice(SIDES), bytearray(data)
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">II", result, 16, width, height)
        result[24:26] = rng.choice((result[24:26], (1, 0), (16, 2), (8, 6), (8, 3)))  # bits and colours
        struct.pack_into(">I", result, 29, zlib.crc32(result[12:29]))
    elif data.startswith(b"\xff\xd8"):
        frame_at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        struct.pack_into(">HH", result, frame_at + 5, height, width)
    elif data[8:16] == b"WEBPVP8 ":
        struct.pack_into("<HH", result, 26, width & 0x3FFF, height & 0x3FFF)
    elif data.startswith(b"BM"):
        struct.pack_into("<ii", result, 18, width, rng.choice((height, -height)))
    return bytes(result)
