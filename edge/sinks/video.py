"""Write video files: clips, and `--record OUT.mp4`."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

from edge.errors import UserError, counted, reason_of
from edge.images import overlay
from edge.messages import FrameResult
from edge.sinks import Sink

log = logging.getLogger(__name__)

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""By suffix; OpenCV ships these codecs on every platform."""
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700  # they show a home
MEMORY_DIR = Path("/dev/shm")
SCRATCH_PREFIX = "fireseg-"
# What closing a file takes: FFmpeg's buffer, and an index that grows with each frame.
RESERVED_BYTES = 1 << 20
RESERVED_BYTES_PER_FRAME = 32


class VideoWriter:
    """A video with the size of its first frame, to which others are scaled.

    OpenCV ignores write errors, so `write` stops while there is space left to close the file, and `close` reads the
    number of frames back. Both raise `OSError`.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None
        self.frames = 0

    def write(self, bgr: npt.NDArray[Any]) -> None:
        height, width = bgr.shape[:2]
        if self._writer is None:
            self._size = (width - width % 2, height - height % 2)  # codecs need even sides
            self._create()
        reserved_bytes = RESERVED_BYTES + bgr.nbytes + RESERVED_BYTES_PER_FRAME * self.frames
        if free_bytes(self._path.parent) < reserved_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._writer = self._writer or self._open()
        self._writer.write(bgr if (width, height) == self._size else cv2.resize(bgr, self._size))
        self.frames += 1

    def close(self) -> None:
        """Complete the file. Raises `OSError` if it does not contain every frame."""
        if self._writer is None or not self._writer.isOpened():
            return
        self._writer.release()
        with ascii_link(self._path) as name:
            readable = cv2.VideoCapture(name).get(cv2.CAP_PROP_FRAME_COUNT)
        if readable < self.frames - 1:  # .mkv rounds
            raise OSError(errno.EIO, f"{max(0, round(readable))} of {self.frames} frames are readable")

    def _create(self) -> None:
        self._path.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with suppress(OSError):  # another owner's file
            os.fchmod(descriptor, PRIVATE_FILE)
        os.close(descriptor)

    def _open(self) -> cv2.VideoWriter:
        with ascii_link(self._path) as name:
            codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
            writer = cv2.VideoWriter(name, codec, self._fps, self._size)
        if not writer.isOpened():
            width, height = self._size
            raise OSError(errno.EINVAL, f"OpenCV encodes no {self._path.suffix} of {width}x{height} px")
        return writer


class VideoRecorder(Sink):
    """Writes each frame with the fire mask drawn over it, one video frame per result.

    A recording that cannot be continued ends as a playable file; the run goes on.

    Args:
        path: .mp4, .avi or .mkv.
        fps: playback rate.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise UserError(f"{path} is not a video file name", "expected .mp4, .avi or .mkv")
        self._path, self._video = path, VideoWriter(path, fps)
        self._failed = False

    def on_result(self, result: FrameResult) -> None:
        if not self._failed:
            self._attempt(lambda: self._video.write(cv2.cvtColor(overlay(result.rgb, result.mask), cv2.COLOR_RGB2BGR)))

    @property
    def lost_files(self) -> int:
        return int(self._failed)

    def close(self) -> None:
        if not self._failed:
            self._attempt(self._video.close)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, cv2.error) as error:
            self._failed = True
            log.error(
                "the recording %s is incomplete (%s): it ends after %s, the run goes on",
                self._path, reason_of(error), counted(self._video.frames, "frame"),
            )  # fmt: skip
            with suppress(OSError):  # already logged
                self._video.close()
                if self._path.is_file() and not self._path.stat().st_size:
                    self._path.unlink()


def free_bytes(folder: Path) -> int:
    """Return how much a process without privileges can write."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


@contextmanager
def ascii_link(path: Path) -> Iterator[str]:
    """Yield an ASCII name for `path`: OpenCV crashes on file names that are not UTF-8.

    The file may stay open when the link is gone.
    """
    if str(path).isascii():
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=MEMORY_DIR if MEMORY_DIR.is_dir() else None) as scratch:
        link = Path(scratch) / f"video{path.suffix.lower()}"
        link.symlink_to(path.absolute())
        yield str(link)
