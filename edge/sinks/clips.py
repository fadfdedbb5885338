"""Pictures and clips of fires: a ring of the last seconds in memory, and on disk only events.

A card that is written all day wears out; so frames wait as JPEGs in memory until an alarm asks for them, and the clip
is put together in memory too (/dev/shm, where there is one) and copied to the disk whole. The folder is bounded in
bytes and days. A full or read-only disk costs the pictures, never the alarm.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge.files import replacing, write_bytes, write_json
from edge.images import Frame, encode_jpeg, overlay
from edge.messages import END, START, FireEvent, FrameResult
from edge.sinks import Sink
from edge.sinks.video import open_writer

log = logging.getLogger(__name__)

RING_WIDTH_PX = 640
"""Frames of clips are at most so wide: five seconds of them take a few megabytes."""
RING_BYTES = 24 << 20
CLOSE_WAIT_S = 0.8
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Kept:
    """One frame in the ring."""

    t_s: float
    jpeg: bytes


@dataclass
class Clip:
    """A clip that still gathers frames."""

    id: str
    until_s: float
    frames: list[Kept] = field(default_factory=list)


class Clips(Sink):
    """Writes ID-start.jpg, ID-start-overlay.jpg and so on for peak and end, ID.mp4, and ID.json with the event.

    Args:
        folder: where they are kept; made on the first event.
        before_s, after_s: what a clip shows before and after the alarm came on.
        max_bytes, max_age_s: bounds of the folder; the oldest go first.
        now: the clock on the wall, in seconds, as the files' times have it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        before_s: float,
        after_s: float,
        max_bytes: float,
        max_age_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._before_s, self._after_s = before_s, after_s
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._now = now
        self._ring: deque[Kept] = deque()
        self._ring_bytes = 0
        self._clips: list[Clip] = []
        # Writing is the work of another thread: a slow card must not hold up the alarm.
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._write_all, name="clips", daemon=True)
        self._worker.start()

    def on_result(self, result: FrameResult) -> None:
        kept = Kept(result.t_s, encode_jpeg(_narrow(result.rgb)))
        self._ring.append(kept)
        self._ring_bytes += len(kept.jpeg)
        while self._ring and (
            not 0 <= result.t_s - self._ring[0].t_s <= self._before_s or self._ring_bytes > RING_BYTES
        ):
            self._ring_bytes -= len(self._ring.popleft().jpeg)
        for clip in self._clips:
            clip.frames.append(kept)
        for clip in [clip for clip in self._clips if result.t_s >= clip.until_s]:
            self._finish(clip)

    def on_event(self, event: FireEvent) -> None:
        if event.kind == START:
            self._clips.append(Clip(event.id, event.t_s + self._after_s, list(self._ring)))
        self._work.put(lambda: self._write_pictures(event))

    def close(self) -> None:
        for clip in list(self._clips):
            self._finish(clip)
        self._work.put(None)
        self._worker.join(CLOSE_WAIT_S)

    def _finish(self, clip: Clip) -> None:
        self._clips.remove(clip)
        if clip.frames:
            self._work.put(lambda: self._write_clip(clip))

    # The writing thread.

    def _write_all(self) -> None:
        while (job := self._work.get()) is not None:
            try:
                job()
                prune(self._folder, self._max_bytes, self._max_age_s, self._now())
            except Exception as error:  # of whatever kind: the next fire's pictures may succeed
                log.error("pictures of a fire are lost (%s); the alarm goes on", error)

    def _write_pictures(self, event: FireEvent) -> None:
        name = f"{event.id}-{event.kind}"
        write_bytes(self._folder / f"{name}.jpg", encode_jpeg(event.rgb))
        write_bytes(self._folder / f"{name}-overlay.jpg", encode_jpeg(overlay(event.rgb, event.mask)))
        if event.kind == END:
            write_json(self._folder / f"{event.id}.json", event.as_json())

    def _write_clip(self, clip: Clip) -> None:
        frames = clip.frames
        span_s = frames[-1].t_s - frames[0].t_s
        fps = min(max((len(frames) - 1) / span_s, 0.5), 60.0) if span_s > 0 else 1.0
        with tempfile.TemporaryDirectory(prefix="fireseg-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
            made = Path(scratch) / "clip.mp4"
            first = _decoded(frames[0])
            height, width = (side - side % 2 for side in first.shape[:2])
            writer = open_writer(made, (width, height), fps)
            for kept in frames:
                picture = _decoded(kept)
                if picture.shape[:2] != (height, width):
                    picture = cv2.resize(picture, (width, height)).astype(np.uint8)
                writer.write(picture)
            writer.release()
            with replacing(self._folder / f"{clip.id}.mp4") as temporary:
                shutil.copyfile(made, temporary)


def prune(folder: Path, max_bytes: float, max_age_s: float, now_s: float) -> list[Path]:
    """Delete the oldest files of events until the folder keeps its bounds; gives what went."""
    files = []
    for path in folder.glob("*"):
        # Only what is ours: a folder may hold a person's other files too.
        if path.suffix in (".jpg", ".mp4", ".json") and path.name[:8].isdigit() and path.name[8:9] == "T":
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, path.name, status.st_size, path))
    left_bytes = sum(size for _, _, size, _ in files)
    gone = []
    for mtime, _, size, path in sorted(files):
        if left_bytes <= max_bytes and now_s - mtime <= max_age_s:
            continue
        path.unlink(missing_ok=True)
        left_bytes -= size
        gone.append(path)
    return gone


def _narrow(rgb: Frame) -> Frame:
    height, width = rgb.shape[:2]
    if width <= RING_WIDTH_PX:
        return rgb
    size = (RING_WIDTH_PX, round(height * RING_WIDTH_PX / width))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _decoded(kept: Kept) -> np.ndarray:
    """In OpenCV's order of channels."""
    picture = cv2.imdecode(np.frombuffer(kept.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "a JPEG of our own making"
    return picture
