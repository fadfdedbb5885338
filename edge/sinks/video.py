"""Opening a video file to write, in a codec that OpenCV brings along everywhere."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.errors import UserError

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


def open_writer(path: Path, size: tuple[int, int], fps: float) -> cv2.VideoWriter:
    """`size` is width and height, even both. Raises `UserError` where the file cannot be written."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()]), fps, size)
    if not writer.isOpened():
        raise UserError(f"{path} could not be written as a video", "check the folder and the space on the disk")
    return writer
