"""An image is complete, or an error names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import FIRE_COLOUR_RGB, Frame, list_images, overlay, read_gray_or_colour, read_rgb, write_image

JPEG_LOSS = 15  # mean difference in grey levels; the edges of the checkerboard compress worst

EXIF_ROTATED_BY_90 = (  # one TIFF entry, Orientation = 6: rotate clockwise
    b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
)


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


def test_a_photo_is_rotated_by_its_exif_orientation(tmp_path: Path) -> None:
    path = tmp_path / "upright.jpg"
    path.write_bytes(with_exif(encoded(image(), ".jpg"), EXIF_ROTATED_BY_90))
    upright = read_rgb(path)
    assert upright.shape == (64, 48, 3)
    assert np.abs(upright.astype(int) - np.rot90(image(), -1)).mean() < JPEG_LOSS


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
    for name in ("b.JPG", "a.png", "notes.txt", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.png").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]


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
