"""Read the size, the EXIF orientation and the completeness of an image from its bytes, before anything is decoded.

A picture of 600 bytes can announce 30000x30000 px, which a decoder would allocate. OpenCV decodes truncated JPEGs and
fills the rest with grey, and its versions differ in the formats whose EXIF orientation they apply.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIF_PREFIX = b"Exif\x00\x00"
NOT_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # JPEG markers among the SOF range that begin something else
MAX_SEGMENTS = 100_000  # of a JPEG, or chunks of a PNG or WebP: a hostile file could have millions
PADDING = re.compile(rb"\xff+")
ORIENTATION_TAG, WIDTH_TAG, HEIGHT_TAG, TILE_WIDTH_TAG, TILE_HEIGHT_TAG = 0x112, 256, 257, 322, 323


@dataclass
class ImageHeader:
    format: str
    width: int = 0
    height: int = 0
    orientation: int = 1
    """EXIF orientation that the decoder leaves to the caller, 1..8; 1 for upright."""
    complete: bool = True
    """Whether the data reaches the end of the image."""
    damage: str = ""
    """A wrong checksum inside; empty if all are right, or the format has none."""


def read_header(data: bytes) -> ImageHeader | None:
    """Return the header of a JPEG, PNG, WebP, GIF, BMP or TIFF; None for anything else, or a header cut short."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(PNG_SIGNATURE[:4]):
            return _png(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return ImageHeader("GIF", *struct.unpack_from("<HH", data, 6))
        if data.startswith(b"BM"):
            (header_bytes,) = struct.unpack_from("<I", data, 14)
            width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
            return ImageHeader("BMP", abs(width), abs(height))  # a negative height means top down
        if data.startswith((b"II*\x00", b"MM\x00*")):
            tags = _tiff_tags(data)
            width, height = tags.get(WIDTH_TAG, 0), tags.get(HEIGHT_TAG, 0)
            # A tile is allocated whole, also beyond the image. OpenCV applies a TIFF's orientation itself.
            return ImageHeader(
                "TIFF", max(width, tags.get(TILE_WIDTH_TAG, 0)), max(height, tags.get(TILE_HEIGHT_TAG, 0))
            )
    except struct.error:
        pass
    return None


def _jpeg(data: bytes) -> ImageHeader:
    """Walk the segments: a thumbnail in one of them has its own size and end. Phones append videos after the end."""
    header, at = ImageHeader("JPEG", complete=False), 2
    for _ in range(MAX_SEGMENTS):
        if (padding := PADDING.match(data, at)) is None or len(data) < padding.end() + 3:
            break
        at = padding.end() - 1
        marker, size_bytes = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in NOT_FRAME_HEADERS:
            header.height, header.width = struct.unpack_from(">HH", data, at + 5)
        elif marker == 0xE1 and data[at + 4 : at + 10] == EXIF_PREFIX:
            header.orientation = _orientation(data[at + 10 : at + 2 + size_bytes])
        at += 2 + size_bytes
        if marker == 0xDA:  # start of scan, in which 0xFF 0xD9 occurs only as the end marker
            header.complete = data.find(b"\xff\xd9", at) >= 0
            break
    return header


def _png(data: bytes) -> ImageHeader:
    header, at, view = ImageHeader("PNG", complete=False), len(PNG_SIGNATURE), memoryview(data)
    for _ in range(MAX_SEGMENTS):
        if len(data) < at + 12:
            break
        size_bytes, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size_bytes
        if len(data) < end:
            break
        if kind == b"IHDR":
            header.width, header.height = struct.unpack_from(">II", data, at + 8)
        elif kind == b"eXIf":
            header.orientation = _orientation(data[at + 8 : end - 4])
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            header.damage = f"wrong checksum at byte {at}"
        if kind == b"IEND":
            header.complete = True
            break
        at = end
    return header


def _webp(data: bytes) -> ImageHeader:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    header, at = ImageHeader("WebP", complete=len(data) >= 8 + riff_bytes), 12
    for _ in range(MAX_SEGMENTS):
        if len(data) < at + 8:
            break
        kind, size_bytes = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if kind == b"VP8X":
            header.width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
            header.height = int.from_bytes(data[body + 7 : body + 10], "little") + 1
        elif kind == b"VP8L" and not header.width:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            header.width, header.height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 " and not header.width:
            width, height = struct.unpack_from("<HH", data, body + 6)
            header.width, header.height = width & 0x3FFF, height & 0x3FFF
        elif kind == b"EXIF":
            header.orientation = _orientation(data[body : body + size_bytes].removeprefix(EXIF_PREFIX))
        at = body + size_bytes + size_bytes % 2
    return header


def _orientation(exif: bytes) -> int:
    try:
        orientation = _tiff_tags(exif).get(ORIENTATION_TAG, 1)
    except struct.error:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the numbers in the first directory of a TIFF, by tag. Raises struct.error if it is cut short."""
    order = ">" if data.startswith(b"MM") else "<"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if kind in (3, 4):  # 16 and 32 bits
            (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return tags
