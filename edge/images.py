"""Read and write images, and draw masks over frames.

OpenCV silently decodes truncated JPEGs; here an image is complete or an error names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.files import make_folder, replacing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FIRE_COLOUR_RGB = (255, 60, 0)

Frame = npt.NDArray[np.uint8]  # H x W x 3, RGB
Map = npt.NDArray[np.uint8]  # H x W
Mask = npt.NDArray[np.bool_]  # H x W, True where fire is predicted


def read_rgb(path: Path) -> Frame:
    """Return an image as RGB `uint8` (H, W, 3), rotated by its EXIF orientation. Raises `UserError`.

    Example:
        >>> read_rgb(Path("photo.jpg")).shape
        (720, 1280, 3)
    """
    return to_rgb(_decode(path, cv2.IMREAD_COLOR))


def to_rgb(bgr: npt.NDArray[Any]) -> Frame:
    """Return a BGR image as RGB, in a new array."""
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def encode_jpeg(frame: Frame, quality: int = 85) -> bytes:
    """Return an RGB image as JPEG; `quality` is 0..100."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def shrink(frame: Frame, max_width_px: int) -> Frame:
    """Return an RGB picture scaled down to at most `max_width_px`, or itself if it is not wider."""
    height, width = frame.shape[:2]
    if width <= max_width_px:
        return frame
    size = (max_width_px, round(height * max_width_px / width))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def read_gray_or_colour(path: Path) -> Frame | Map:
    """Return an image with its own channels: (H, W), or (H, W, C) in OpenCV's order. Raises `UserError`."""
    return _decode(path, cv2.IMREAD_UNCHANGED)


def write_image(path: Path, image: Frame | Map) -> None:
    """Write an RGB image or a one-channel map in the format of the suffix. Raises `UserError`."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{path} has an unknown suffix", f"expected one of {', '.join(IMAGE_SUFFIXES)}")
    encoded = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    with replacing(path) as temporary:
        if not cv2.imwrite(str(temporary), encoded):
            raise OSError(f"OpenCV could not encode {path.suffix}")


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
    """Return the images directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _decode(path: Path, flags: int) -> Frame | Map:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror})", "check the path") from error
    if _is_truncated(data):
        raise UserError(f"{path} is cut short ({len(data)} bytes)", "copy or download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty file, or a corrupt header with an absurd size
        image = None
    if image is None:
        raise UserError(f"{path} is not a readable image", "expected a whole JPEG, PNG, BMP, WebP or TIFF")
    if image.dtype != np.uint8:
        image = np.clip(image, 0, 255)  # a cast alone would wrap 256 of a 16-bit mask to 0
    return image.astype(np.uint8, copy=False)


def _is_truncated(data: bytes) -> bool:
    """Return whether a JPEG or PNG is truncated. OpenCV decodes such a file and fills the rest with grey."""
    if data.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" not in data
    if not data.startswith(b"\xff\xd8"):
        return False
    # Walk the headers: a thumbnail there has its own end marker. Phones append videos after the end.
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) >= at + 4:
        marker, size_bytes = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        at += 2 + size_bytes
        if marker == 0xDA:  # start of scan, in which 0xFF 0xD9 occurs only as the end marker
            return data.find(b"\xff\xd9", at) < 0
    return True
