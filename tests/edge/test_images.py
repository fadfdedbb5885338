"""An image is complete, or an error names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.images import (
    CHECKS_JPEGS,
    FIRE_COLOUR_RGB,
    Frame,
    decode_rgb,
    list_images,
    overlay,
    read_gray_or_colour,
    read_rgb,
    shrink,
    write_image,
)
from tests.support.pictures import JPEG_LOSS, encoded, image, with_exif

JPEGS = {
    "baseline": lambda: encoded(image(), ".jpg"),
    "progressive": lambda: encoded(image(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "with a thumbnail": lambda: with_exif(encoded(image(), ".jpg"), b"Exif\x00\x00" + encoded(image(12, 16), ".jpg")),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_complete_jpeg_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEGS[kind]())
    assert np.abs(read_rgb(path).astype(int) - image()).mean() < JPEG_LOSS


@pytest.mark.parametrize("kind", JPEGS)
def test_a_truncated_jpeg_is_an_error_with_its_name(tmp_path: Path, kind: str) -> None:
    data, path = JPEGS[kind](), tmp_path / "half.jpg"
    for share in (0.01, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(data[: round(len(data) * share)])
        with pytest.raises(UserError, match=r"half\.jpg is (cut short|not a readable image)"):
            read_rgb(path)
    for missing_bytes in (1, 2, 100):  # the end of a thumbnail is not the end of the image
        path.write_bytes(data[:-missing_bytes])
        with pytest.raises(UserError, match="cut short"):
            read_rgb(path)


def test_bytes_after_the_end_of_a_jpeg_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "padded.jpg"
    path.write_bytes(encoded(image(), ".jpg") + b"\x00" * 100)
    assert read_rgb(path).shape == (48, 64, 3)


def test_a_truncated_png_is_an_error_with_its_name(tmp_path: Path) -> None:
    data, path = encoded(image(), ".png"), tmp_path / "half.png"
    for share in (0.05, 0.5, 0.95):
        path.write_bytes(data[: round(len(data) * share)])
        with pytest.raises(UserError, match=r"half\.png is cut short"):
            read_rgb(path)


@pytest.mark.parametrize(("name", "content"), [("notes.png", b"<html>404</html>"), ("empty.jpg", b"")])
def test_a_file_that_is_not_an_image_is_an_error_with_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is not a readable image"):
        read_rgb(tmp_path / name)


def test_a_missing_file_and_a_folder_are_errors_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg could not be read"):
        read_rgb(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="could not be read"):
        read_rgb(tmp_path)


def test_a_file_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(UserError, match=r"sparse\.jpg is too large: expected an image of at most 256 MB"):
        read_rgb(path)


def test_a_damaged_png_is_an_error_with_its_name(tmp_path: Path) -> None:
    data, path = bytearray(encoded(image(), ".png")), tmp_path / "flipped.png"
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"flipped\.png is damaged \(wrong checksum at byte 33\)"):
        read_rgb(path)


needs_simplejpeg = pytest.mark.skipif(not CHECKS_JPEGS, reason="install simplejpeg to run this")


@needs_simplejpeg
@pytest.mark.parametrize("read", [read_rgb, read_gray_or_colour])
@pytest.mark.parametrize("kind", ["zeros", "cut", "restart"])
def test_a_jpeg_that_is_damaged_inside_is_an_error_with_its_name(
    tmp_path: Path, kind: str, read: Callable[[Path], Frame]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    options = (cv2.IMWRITE_JPEG_RST_INTERVAL, 4) if kind == "restart" else ()
    data, path = bytearray(encoded(noise, ".jpg", *options)), tmp_path / "torn.jpg"
    middle = len(data) // 2
    if kind == "zeros":
        data[middle : middle + 500] = bytes(500)
    else:
        del data[middle : middle + 3000]
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"torn\.jpg is damaged \(.+\): copy or download it again"):
        read(path)


@pytest.mark.parametrize("junk", [bytes(500), b"\x17\x2a\x00"])
def test_unused_bytes_before_the_end_of_a_jpeg_are_ignored(junk: bytes) -> None:
    data = encoded(image(), ".jpg")
    assert (decode_rgb(data[:-2] + junk + data[-2:], "webcam") == decode_rgb(data, "webcam")).all()


@needs_simplejpeg
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_has_the_pixels_that_opencv_decodes(kind: str) -> None:
    data = JPEGS[kind]()
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (decode_rgb(data, "a") == bgr[..., ::-1]).all()


@pytest.mark.skipif(cv2.__version__.startswith("4.6."), reason="OpenCV 4.6 prints without its log")
@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_opencv_prints_nothing_about_a_broken_image(suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="half is not a readable image"):
        decode_rgb(encoded(image(), suffix)[: 2000 if suffix == ".bmp" else -100], "half")
    assert capfd.readouterr().err == ""


@given(
    suffix=st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tif"]),
    content=st.binary(max_size=60),
    at=st.integers(0, 300),
    cut=st.integers(1, 400),
)
def test_garbage_is_an_image_or_a_user_error(suffix: str, content: bytes, at: int, cut: int) -> None:
    data = encoded(image(), suffix)
    with suppress(UserError):
        decode_rgb(data[:at] + content + data[at + len(content) : -cut], "garbage")


def test_an_image_whose_name_is_not_utf8_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_image(path, image())
    assert (read_rgb(path) == image()).all()
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"caf\\xe9\.png is not a readable image"):
        read_rgb(path)


def test_a_very_wide_frame_shrinks_to_a_line() -> None:
    assert shrink(np.zeros((1, 5000, 3), np.uint8), 640).shape == (1, 640, 3)


@pytest.mark.parametrize("max_width_px", [320, 639, 960, 1279])
def test_a_flame_of_one_pixel_is_in_the_shrunk_frame(max_width_px: int) -> None:
    for at in range(0, 1280, 37):
        frame = np.zeros((6, 1280, 3), np.uint8)
        frame[3, at] = 255
        assert shrink(frame, max_width_px).max() > 15


def test_a_grey_png_becomes_rgb_with_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    grey = image()[..., 0]
    write_image(path, grey)
    assert (read_rgb(path) == grey[..., None]).all()
    assert (read_gray_or_colour(path) == grey).all()


def test_the_transparency_of_a_png_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    frame = image()
    path.write_bytes(bytes(cv2.imencode(".png", np.dstack([frame[..., ::-1], frame[..., 0]]))[1]))
    assert (read_rgb(path) == frame).all()


def test_a_16_bit_png_keeps_nonzero_values_nonzero(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    values = np.array([[0, 1, 255, 256, 512, 65280, 65535]], np.uint16)
    path.write_bytes(bytes(cv2.imencode(".png", values)[1]))
    assert (read_gray_or_colour(path) > 0).tolist() == (values > 0).tolist()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_lossless_image_is_read_back_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, image())
    assert (read_rgb(path) == image()).all()


def test_a_jpeg_written_and_read_back_keeps_red_red(tmp_path: Path) -> None:
    path = tmp_path / "red.jpg"
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    write_image(path, red)
    assert np.abs(read_rgb(path).astype(int) - red).max() < 8


def test_an_image_is_written_only_with_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.jpg"):
        write_image(tmp_path / "a.keras", image())
    assert list(tmp_path.iterdir()) == []


def test_only_images_are_listed_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", "Thumbs.db", "._a.png", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.png").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
    with pytest.raises(UserError, match="gone could not be read"):
        list_images(tmp_path / "gone")


def test_an_overlay_tints_and_outlines_the_mask_and_nothing_else() -> None:
    frame = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((40, 60), np.bool_)
    mask[10:20, 20:40] = True
    drawn = overlay(frame, mask)
    assert (drawn[~mask] == 100).all()
    assert (drawn[12:18, 22:38] == [177, 80, 50]).all()  # halfway from grey to the fire colour
    assert (drawn[10, 20:40] == FIRE_COLOUR_RGB).all()
    assert (drawn[10:20, 20] == FIRE_COLOUR_RGB).all()
    assert (frame == 100).all(), "the frame itself must not change"
    assert (overlay(frame, np.zeros_like(mask)) == frame).all()


def test_an_overlay_accepts_a_mask_of_the_models_size() -> None:
    frame = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((4, 6), np.bool_)
    mask[1, 2] = True
    changed = (overlay(frame, mask) != frame).any(axis=2)
    assert changed[10:20, 20:30].all()
    assert changed.sum() == 100


def test_a_named_pipe_among_images_is_an_error_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"b\.jpg is not a file: expected a whole JPEG"):
        read_rgb(tmp_path / "b.jpg")


def no_memory() -> cv2.error:
    error = cv2.error("Insufficient memory")
    error.code = cv2.Error.STS_NO_MEM
    return error


@pytest.mark.parametrize("error", [MemoryError(), no_memory()])
def test_too_little_memory_is_not_blamed_on_the_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(image(), ".png")
    monkeypatch.setattr(cv2, "imdecode", mock.Mock(side_effect=error))
    with pytest.raises(UserError, match=r"1\.png needs 0 MB of memory or more, which is not free: use smaller images"):
        decode_rgb(data, "1.png")
