"""Recordings: a video file with its own timestamps, and images at a fixed frame rate."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge.camera.base import BrokenFrameError, CameraFrame
from edge.camera.damage import DamageCount
from edge.errors import UserError
from edge.files import printable
from edge.images import CHECKS_JPEGS, check_size, list_images, read_rgb, to_rgb

log = logging.getLogger(__name__)

FALLBACK_FPS = 25.0  # for files without a frame rate
MAX_FPS = 1000.0  # higher rates come from broken headers
MAX_FAILED_READS = 100  # in a row, before a video counts as ended: OpenCV fails at damaged frames as well


def open_video(path: Path) -> cv2.VideoCapture:
    """Return a video that is open and rotated by its metadata. Raises `UserError`.

    FFmpeg gets a descriptor instead of the name: OpenCV crashes on names that are not UTF-8, and FFmpeg takes others
    for addresses or patterns.
    """
    name = printable(path)
    try:
        with path.open("rb") as file:
            video = cv2.VideoCapture(f"/dev/fd/{file.fileno()}", cv2.CAP_FFMPEG)
    except OSError as error:
        raise UserError(f"{name} could not be read ({error.strerror})", "check the path") from error
    width, height = (int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if not video.isOpened() or not width or not height:
        raise UserError(f"{name} is not a readable video", "expected a whole MP4, AVI, MKV or similar")
    check_size(width, height, name)
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # the default of some versions of OpenCV alone
    return video


class VideoFile:
    live = False

    def __init__(self, path: Path) -> None:
        self.name = printable(path)
        self._path = path
        self._capture = cv2.VideoCapture()
        self._damage: DamageCount | None = None
        self._t_s: float | None = None
        """Time of the last frame; None before the first."""

    def open(self) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: `DamageCount` says it in one line
        self._capture = open_video(self._path)
        self._damage = DamageCount(self._path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._frame_s = 1 / (fps if 0 < fps <= MAX_FPS else FALLBACK_FPS)
        self._t_s = None

    def read(self) -> CameraFrame | None:
        for _ in range(MAX_FAILED_READS):
            success, bgr = self._capture.read()
            if success:
                break
        else:
            if self._t_s is None:
                raise UserError(f"{self.name} contains no readable frame", "copy or download it again")
            self._report_damage()
            return None
        # The file's timestamps keep an uneven frame rate; where they do not advance, the nominal rate fills in.
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        next_s = 0.0 if self._t_s is None else self._t_s + self._frame_s
        self._t_s = stamp_s if stamp_s > (self._t_s or 0.0) else next_s
        return CameraFrame(to_rgb(bgr), t_s=self._t_s)

    def close(self) -> None:
        self._capture.release()
        if self._damage is not None:
            self._damage.stop()

    def _report_damage(self) -> None:
        """Raise `BrokenFrameError` once, if the video is damaged."""
        damage, self._damage = self._damage, None
        if damage is None:
            return
        frames, first_s = damage.result()
        if frames:
            where = f"the first at {first_s:.1f} s; later ones that build on them are wrong too"
            raise BrokenFrameError(f"{self.name}: damaged frames: {frames}, {where}", frames)


class ImageFolder:
    """The images of a folder in the order of their names, or a single image."""

    live = False

    def __init__(self, path: Path, *, fps: float) -> None:
        self.name = printable(path)
        self._path, self._fps = path, fps
        self._remaining: Iterator[tuple[int, Path]] = iter(())

    def open(self) -> None:
        images = list_images(self._path) if self._path.is_dir() else [self._path]
        if not images:
            raise UserError(f"{self.name} contains no images", "expected .jpg, .png or similar files")
        warn_if_unchecked(self.name)
        self._remaining = iter(enumerate(images))

    def read(self) -> CameraFrame | None:
        index, path = next(self._remaining, (0, None))
        if path is None:
            return None
        try:
            return CameraFrame(read_rgb(path), t_s=index / self._fps)
        except UserError as error:
            if path == self._path:
                raise
            raise BrokenFrameError(str(error)) from None

    def close(self) -> None:
        self._remaining = iter(())


def warn_if_unchecked(name: str) -> None:
    """Log that JPEGs damaged inside are not recognised, where the library that recognises them is missing."""
    if not CHECKS_JPEGS:
        log.warning("%s: damaged JPEGs are processed as they are, since simplejpeg cannot be imported", name)
