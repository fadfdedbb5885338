"""A folder of pictures as a recording, in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.camera.base import CameraFrame
from edge.errors import UserError
from edge.images import list_images, read_rgb


class Folder:
    live = False

    def __init__(self, path: Path, *, fps: float) -> None:
        self.name = str(path)
        self._path = path
        self._fps = fps
        self._left: Iterator[tuple[int, Path]] = iter(())

    def open(self) -> None:
        pictures = list_images(self._path)
        if not pictures:
            raise UserError(f"{self._path} holds no pictures", "expected .jpg, .png or others of their kind")
        self._left = iter(enumerate(pictures))

    def read(self) -> CameraFrame | None:
        following = next(self._left, None)
        if following is None:
            return None
        number, path = following
        return CameraFrame(read_rgb(path), t_s=number / self._fps)

    def close(self) -> None:
        self._left = iter(())
