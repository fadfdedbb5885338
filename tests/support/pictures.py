"""Small pictures and their encoded bytes, with EXIF where a test wants it."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from edge.image_header import read_header
from edge.images import Frame

JPEG_LOSS = 15  # mean difference in grey levels; the edges of the checkerboard compress worst


def exif(orientation: int) -> bytes:
    """Return one TIFF entry, Orientation."""
    return b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + bytes([orientation]) + bytes(6)


def image(height: int = 48, width: int = 64) -> Frame:
    """Return a red gradient to the right, a green one downwards, and a blue checkerboard, which makes the JPEG long."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, width)[None, :]
    frame[..., 1] = np.linspace(0, 255, height)[:, None]
    frame[..., 2] = 200 * (np.add.outer(np.arange(height) // 8, np.arange(width) // 8) % 2)
    return frame


def encoded(frame: Frame, suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1])


def with_exif(jpeg: bytes, content: bytes) -> bytes:
    """Return a JPEG with an APP1 segment after its start marker, where cameras put it."""
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def webp_with_exif(webp: bytes, content: bytes) -> bytes:
    """Return a WebP in the extended format, with an EXIF chunk behind the image."""
    header = read_header(webp)
    assert header is not None
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (header.width, header.height))
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x08\x00\x00\x00" + sides
    chunks = b"WEBP" + extended + webp[12:] + b"EXIF" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks
