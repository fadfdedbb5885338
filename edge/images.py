"""Read and write images, and draw masks over frames.

OpenCV silently decodes truncated and damaged JPEGs; here an image is whole or an error names the file. Files are opened
here, since OpenCV crashes on names that are not UTF-8.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.files import make_folder, printable, write_bytes
from edge.image_header import read_header

MAX_PIXELS = 8192 * 6144  # 50 megapixels, as the largest phones take; a frame then has 150 MB
MAX_STREAM_PIXELS = 4096 * 3072  # of a camera's frame: a run holds several, and those of each zone's fire
MAX_SIDE = 16384
MAX_FILE_BYTES = 256 << 20
MAX_JUNK_BYTES = 8  # unused bytes before a JPEG's end that some cameras write

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
EXPECTED = "expected a whole JPEG, PNG, BMP, WebP or TIFF"
FIRE_COLOUR_RGB = (255, 60, 0)

Frame = npt.NDArray[np.uint8]  # H x W x 3, RGB
Map = npt.NDArray[np.uint8]  # H x W
Mask = npt.NDArray[np.bool_]  # H x W, True where fire is predicted
Pixel = TypeVar("Pixel", bound=np.generic)


# OpenCV would log what it cannot decode, and addresses of cameras with their passwords. OpenCV 5 moved the function.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # type: ignore[attr-defined]
_set_log_level(0)

_simplejpeg: Any = None
with suppress(ImportError, ValueError):  # no wheel for a 32-bit Pi; ValueError: compiled for another numpy
    _simplejpeg = importlib.import_module("simplejpeg")
CHECKS_JPEGS = _simplejpeg is not None
"""Whether JPEGs that are damaged inside are recognised: OpenCV only prints it."""


def read_rgb(path: Path) -> Frame:
    """Return an image as RGB `uint8` (H, W, 3), rotated by its EXIF orientation. Raises `UserError`.

    Example:
        >>> read_rgb(Path("photo.jpg")).shape
        (720, 1280, 3)
    """
    return decode_rgb(_read_bytes(path), printable(path))


def decode_rgb(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Return the bytes of an image file as RGB, rotated by its EXIF orientation. Raises `UserError` with `name`."""
    return _decode(data, name, keep_channels=False, max_pixels=max_pixels)


def check_size(width: int, height: int, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `UserError` for an image or video too large to decode; memory is allocated by what its header says."""
    if max(width, height) > MAX_SIDE or width * height > max_pixels:
        limits = f"at most {max_pixels / 1e6:.0f} megapixels and {MAX_SIDE} px a side"
        raise UserError(f"{name} has {width}x{height} px", f"expected {limits}: scale it down")


def to_rgb(bgr: npt.NDArray[Any]) -> Frame:
    """Return a BGR image as RGB, in a new array."""
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def upright(image: npt.NDArray[Pixel], orientation: int) -> npt.NDArray[Pixel]:
    """Return an image or mask rotated and mirrored by its EXIF orientation, 1..8."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def encode_jpeg(frame: Frame, quality: int = 85) -> bytes:
    """Return an RGB image as JPEG; `quality` is 0..100."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def shrink(frame: Frame, max_width_px: int) -> Frame:
    """Return an RGB picture scaled down to at most `max_width_px`, or itself if it is not wider."""
    height, width = frame.shape[:2]
    if width <= max_width_px:
        return frame
    size = (max_width_px, max(1, round(height * max_width_px / width)))
    # From two pixels to one, linear interpolation uses every pixel too, in a tenth of the time.
    method = cv2.INTER_LINEAR if width < 2 * max_width_px else cv2.INTER_AREA
    return cv2.resize(frame, size, interpolation=method).astype(np.uint8, copy=False)


def read_gray_or_colour(path: Path) -> Frame | Map:
    """Return an image with its own channels: (H, W), or (H, W, C) in OpenCV's order; rotated. Raises `UserError`."""
    return _decode(_read_bytes(path), printable(path), keep_channels=True)


def write_image(path: Path, image: Frame | Map) -> None:
    """Write an RGB image or a one-channel map in the format of the suffix. Raises `UserError`."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{printable(path)} has an unknown suffix", f"expected one of {', '.join(IMAGE_SUFFIXES)}")
    encoded = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    try:
        _, data = cv2.imencode(path.suffix.lower(), encoded)
    except cv2.error as error:
        height, width = image.shape[:2]
        raise UserError(f"{printable(path)} could not be encoded", f"expected less than {width}x{height} px") from error
    write_bytes(path, data.tobytes())


def overlay(frame: Frame, mask: Mask) -> Frame:
    """Return a copy of an RGB frame with fire pixels tinted and outlined. `mask` may be of any size.

    Example:
        >>> write_image(Path("overlay.jpg"), overlay(frame, segmenter.mask(frame)))
    """
    height, width = frame.shape[:2]
    full = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    fire = full.astype(bool)
    drawn = frame.copy()
    drawn[fire] = (frame[fire] / 2 + np.divide(FIRE_COLOUR_RGB, 2)).astype(np.uint8)
    contours, _ = cv2.findContours(full, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(drawn, contours, -1, FIRE_COLOUR_RGB, thickness=max(1, round(max(height, width) / 400)))
    return drawn


def output_paths(images: Sequence[Path], out: Path) -> dict[Path, tuple[Path, Path]]:
    """Return the paths of mask and overlay for each image; create `out`. Raises `UserError` if two names collide."""
    by_stem: dict[str, Path] = {}
    for path in images:
        if path.stem in by_stem:
            problem = f"{path} and {by_stem[path.stem]} would both be written as {path.stem}"
            raise UserError(problem, "segment them separately")
        by_stem[path.stem] = path
    make_folder(out)
    return {path: (out / f"{path.stem}-mask.png", out / f"{path.stem}-overlay.jpg") for path in images}


def write_mask(frame: Frame, mask: Mask, mask_path: Path, overlay_path: Path) -> None:
    """Write a mask as 0 and 255, and its overlay on the frame."""
    write_image(mask_path, mask.astype(np.uint8) * 255)
    write_image(overlay_path, overlay(frame, mask))


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in a folder, sorted by name, without hidden files. Raises `UserError`."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{printable(folder)} could not be read ({error.strerror})", "check the path") from error
    # Hidden: macOS puts `._photo.jpg` beside photo.jpg on foreign disks.
    return [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]


def _read_bytes(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, a named pipe in a folder would hang a run.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
                raise UserError(f"{printable(path)} is not a file", EXPECTED)
            size_bytes = status.st_size
            data = b"" if size_bytes > MAX_FILE_BYTES else file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{printable(path)} could not be read ({error.strerror})", "check the path") from error
    if max(size_bytes, len(data)) > MAX_FILE_BYTES:
        raise UserError(f"{printable(path)} is too large", f"expected an image of at most {MAX_FILE_BYTES >> 20} MB")
    return data


def _decode(data: bytes, name: str, *, keep_channels: bool, max_pixels: int = MAX_PIXELS) -> Frame | Map:
    """Return RGB, or with `keep_channels` what OpenCV calls unchanged."""
    header = read_header(data)
    if header is None:
        raise UserError(f"{name} is not a readable image", EXPECTED)
    if not header.complete:
        raise UserError(f"{name} is cut short ({len(data)} bytes)", "copy or download it again")
    check_size(header.width, header.height, name, max_pixels)
    try:
        if header.damage:
            raise ValueError(header.damage)
        if header.format == "JPEG" and CHECKS_JPEGS:
            image = _decode_jpeg(data, keep_channels=keep_channels)
        else:
            flags = cv2.IMREAD_UNCHANGED if keep_channels else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if image is not None and not keep_channels:
                image = to_rgb(image)
    except ValueError as error:
        raise UserError(f"{name} is damaged ({error})", "copy or download it again") from None
    except (cv2.error, MemoryError) as error:
        if isinstance(error, MemoryError) or error.code == cv2.Error.STS_NO_MEM:
            needed_mb = header.width * header.height * 3 >> 20
            raise UserError(
                f"{name} needs {needed_mb} MB of memory or more, which is not free", "use smaller images"
            ) from None
        image = None
    if image is None:
        raise UserError(f"{name} is not a readable image", EXPECTED)
    if image.dtype != np.uint8:
        image = np.clip(image, 0, 255)  # a cast alone would wrap 256 of a 16-bit mask to 0
    return upright(image.astype(np.uint8, copy=False), header.orientation)


def _decode_jpeg(data: bytes, *, keep_channels: bool) -> Any:
    """Decode a JPEG to the pixels that OpenCV gives. Raises ValueError if the data is damaged."""
    space = "RGB"
    if keep_channels:
        space = "GRAY" if _simplejpeg.decode_jpeg_header(data)[2] == "Gray" else "BGR"
    try:
        image = _simplejpeg.decode_jpeg(data, space)
    except ValueError as error:
        if not _is_padding(data, str(error)):
            raise
        image = _simplejpeg.decode_jpeg(data, space, strict=False)
    return image[..., 0] if space == "GRAY" else image


def _is_padding(data: bytes, problem: str) -> bool:
    """Return whether libjpeg only found unused bytes before the end, which some cameras write into every JPEG."""
    extraneous = re.search(r"(\d+) extraneous bytes before marker 0xd9", problem)
    if extraneous is None:
        return False
    end = data.rfind(b"\xff\xd9")
    return int(extraneous[1]) <= MAX_JUNK_BYTES or len(set(data[end - int(extraneous[1]) : end])) == 1
