"""What the header of an image says is read before decoding: its size is bounded, its EXIF orientation is applied."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.image_header import MAX_SEGMENTS
from edge.images import Frame, decode_rgb, read_gray_or_colour, read_rgb
from tests.support.pictures import JPEG_LOSS, encoded, exif, image, png_chunk, webp_with_exif, with_exif


def oriented(suffix: str, orientation: int) -> bytes:
    """Return the test image with an EXIF orientation, where each format puts it."""
    data = encoded(image(), suffix)
    if suffix == ".jpg":
        return with_exif(data, b"Exif\x00\x00" + exif(orientation))
    if suffix == ".png":
        return data[:33] + png_chunk(b"eXIf", exif(orientation)) + data[33:]
    return webp_with_exif(data, exif(orientation))


UPRIGHT: dict[int, Callable[[Frame], Frame]] = {  # by the EXIF standard: where row 0 and column 0 are shown
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_image_and_mask_are_rotated_by_their_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"phone{suffix}"
    path.write_bytes(oriented(suffix, orientation))
    expected = UPRIGHT[orientation](image())
    for upright in (read_rgb(path), read_gray_or_colour(path)[..., ::-1]):
        assert upright.shape == expected.shape
        assert np.abs(upright.astype(int) - expected).mean() < JPEG_LOSS


def resized(suffix: str, width: int, height: int) -> bytes:
    """Return an image whose header announces another size than its data has."""
    data = bytearray(encoded(image(), suffix, *((cv2.IMWRITE_WEBP_QUALITY, 80) if suffix == ".webp" else ())))
    if suffix == ".jpg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif suffix == ".png":
        data[8:33] = png_chunk(b"IHDR", struct.pack(">II", width, height) + bytes(data[24:29]))
    elif suffix == ".bmp":
        struct.pack_into("<ii", data, 18, width, -height)
    elif suffix == ".webp":
        struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, width, height)
    else:
        (directory,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            (tag,) = struct.unpack_from("<H", data, entry)
            if tag in (256, 257):
                struct.pack_into("<HHII", data, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize(("width", "height"), [(10_000, 9_000), (16_000, 16_000), (16_383, 16_383)])
def test_an_image_of_absurd_size_is_refused_by_its_header_before_it_is_decoded(
    suffix: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.images.cv2.imdecode", None)
    monkeypatch.setattr("edge.images._simplejpeg", None)
    with pytest.raises(UserError, match=f"bomb has {width}x{height} px: expected at most 50 megapixels"):
        decode_rgb(resized(suffix, width, height), "bomb")


@pytest.mark.parametrize("kind", [b"VP8L", b"VP8X"])
def test_each_kind_of_webp_is_refused_by_its_header(kind: bytes) -> None:
    data = bytearray(encoded(image(), ".webp"))  # lossless
    if kind == b"VP8L":
        struct.pack_into("<I", data, 21, (15_999 << 14) | 15_999)
    else:
        data = bytearray(webp_with_exif(bytes(data), exif(1)))
        data[24:30] = (15_999).to_bytes(3, "little") * 2
    with pytest.raises(UserError, match="bomb has 16000x16000 px"):
        decode_rgb(bytes(data), "bomb")


def test_a_gif_and_a_line_of_absurd_length_are_refused_by_their_headers() -> None:
    with pytest.raises(UserError, match="bomb has 60000x60000 px"):
        decode_rgb(b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20), "bomb")
    with pytest.raises(UserError, match=r"line has 65000x1 px: expected at most .* 16384 px a side"):
        decode_rgb(resized(".jpg", 65_000, 1), "line")


@pytest.mark.parametrize(
    ("suffix", "at", "empty"),
    [(".jpg", 2, b"\xff\xe2\x00\x02"), (".png", 33, png_chunk(b"teXt", b""))],
)
def test_more_segments_than_any_image_has_are_refused(suffix: str, at: int, empty: bytes) -> None:
    data = encoded(image(), suffix)
    decode_rgb(data[:at] + 10 * empty + data[at:], "a few")
    with pytest.raises(UserError, match=r"^hostile (is|has)"):
        decode_rgb(data[:at] + MAX_SEGMENTS * empty + data[at:], "hostile")


def test_padding_before_a_marker_of_a_jpeg_is_skipped() -> None:
    data = encoded(image(), ".jpg")
    assert np.array_equal(decode_rgb(data[:2] + b"\xff" * (1 << 20) + data[2:], "padded"), decode_rgb(data, "plain"))
