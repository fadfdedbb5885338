"""Snapshots and clips of fires: the last seconds in memory, on disk only events.

Continuous writing wears out SD cards. Frames therefore wait in memory as JPEGs until an alarm. The clip is encoded in
/dev/shm if possible and copied to the disk whole. The folder is limited in bytes and age. A full or read-only disk
costs the snapshots and clips, never the alarm.
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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.config import ClipsSection
from edge.files import replacing, write_bytes, write_json
from edge.images import encode_jpeg, overlay, shrink
from edge.messages import END, START, FireEvent, FrameResult
from edge.sinks import SHUTDOWN_GRACE_S, Sink
from edge.sinks.video import VideoFile

log = logging.getLogger(__name__)

MAX_WIDTH_PX = 640  # wider frames are scaled down: five seconds of 640 px take a few megabytes
MAX_BUFFER_BYTES = 24 << 20
MIN_FPS, MAX_FPS = 0.5, 60.0
MEMORY_DIR = Path("/dev/shm")


@dataclass(frozen=True)
class BufferedFrame:
    t_s: float
    jpeg: bytes


@dataclass
class Clip:
    """A clip that is still being recorded."""

    id: str
    until_s: float
    frames: list[BufferedFrame]


class Clips(Sink):
    """Writes ID.mp4, ID.json (the last event), and ID-KIND.jpg and ID-KIND-overlay.jpg for start, peak and end.

    Args:
        section: folder, length of clips, and limits of the folder; the oldest files are deleted first.
        now: wall clock in seconds, as in the files' modification times.
        grace_s: how long `close` waits for files to be written.
    """

    def __init__(
        self, section: ClipsSection, *, now: Callable[[], float] = time.time, grace_s: float = SHUTDOWN_GRACE_S
    ) -> None:
        self._section, self._folder = section, Path(section.folder)
        self._now, self._grace_s = now, grace_s
        self._buffer: deque[BufferedFrame] = deque()
        self._buffer_bytes = 0
        self._clips: list[Clip] = []
        # A thread writes the files: a slow card must not delay the alarm.
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="clips", daemon=True)
        self._writer.start()

    def on_result(self, result: FrameResult) -> None:
        frame = BufferedFrame(result.t_s, encode_jpeg(shrink(result.rgb, MAX_WIDTH_PX)))
        self._buffer.append(frame)
        self._buffer_bytes += len(frame.jpeg)
        while self._buffer and (
            not 0 <= result.t_s - self._buffer[0].t_s <= self._section.before_s or self._buffer_bytes > MAX_BUFFER_BYTES
        ):
            self._buffer_bytes -= len(self._buffer.popleft().jpeg)
        for clip in self._clips:
            clip.frames.append(frame)
        for clip in [clip for clip in self._clips if result.t_s >= clip.until_s]:
            self._finish(clip)

    def on_event(self, event: FireEvent) -> None:
        if event.kind == START:
            self._clips.append(Clip(event.id, event.t_s + self._section.after_s, list(self._buffer)))
        self._jobs.put(lambda: self._write_snapshots(event))

    def close(self) -> None:
        for clip in list(self._clips):
            self._finish(clip)
        self._jobs.put(None)
        self._writer.join(self._grace_s)

    def _finish(self, clip: Clip) -> None:
        self._clips.remove(clip)
        if clip.frames:
            self._jobs.put(lambda: self._write_clip(clip))

    # The writer thread.

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # any kind: the next file may succeed
                log.error("images of a fire are lost (%s); the alarm is not affected", error)
            try:
                prune(self._folder, self._section.max_mb * 1e6, self._section.max_days * 86400, self._now())
            except OSError as error:
                log.error("old images could not be deleted (%s)", error)

    def _write_snapshots(self, event: FireEvent) -> None:
        name = f"{event.id}-{event.kind}"
        write_bytes(self._folder / f"{name}.jpg", encode_jpeg(event.rgb))
        write_bytes(self._folder / f"{name}-overlay.jpg", encode_jpeg(overlay(event.rgb, event.mask)))
        if event.kind == END:
            write_json(self._folder / f"{event.id}.json", event.as_json())

    def _write_clip(self, clip: Clip) -> None:
        frames = clip.frames
        span_s = frames[-1].t_s - frames[0].t_s
        fps = min(max((len(frames) - 1) / span_s, MIN_FPS), MAX_FPS) if span_s > 0 else 1.0
        with tempfile.TemporaryDirectory(prefix="fireseg-", dir=MEMORY_DIR if MEMORY_DIR.is_dir() else None) as scratch:
            encoded = Path(scratch) / "clip.mp4"
            video = VideoFile(encoded, fps)
            for frame in frames:
                video.write(cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR))
            video.close()
            with replacing(self._folder / f"{clip.id}.mp4") as temporary:
                shutil.copyfile(encoded, temporary)


def prune(folder: Path, max_bytes: float, max_age_s: float, now_s: float) -> list[Path]:
    """Delete the oldest event files until the folder is within its limits; return the deleted paths.

    Files with other names, such as a person's own, are left alone.
    """
    files = []
    for path in folder.glob("*"):
        if path.suffix in (".jpg", ".mp4", ".json") and path.name[:8].isdigit() and path.name[8:9] == "T":
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, path.name, status.st_size, path))
    total_bytes = sum(size for _, _, size, _ in files)
    deleted = []
    for mtime, _, size, path in sorted(files):
        if total_bytes <= max_bytes and now_s - mtime <= max_age_s:
            continue
        path.unlink(missing_ok=True)
        total_bytes -= size
        deleted.append(path)
    return deleted
