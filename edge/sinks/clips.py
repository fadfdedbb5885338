"""Snapshots and clips of fires: the last seconds in memory, on disk only events.

Continuous writing wears out SD cards. Frames therefore wait in memory as JPEGs until an alarm. The clip is encoded in
/dev/shm if possible and copied to the disk whole. Memory and folder are limited. A full or read-only disk costs the
snapshots and clips, never the alarm.
"""

from __future__ import annotations

import json
import logging
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge.config_tables import ClipsSection
from edge.errors import counted, reason_of
from edge.event_files import MASK_SUFFIX
from edge.files import replacing
from edge.images import Frame, Mask, encode_jpeg, overlay, shrink
from edge.messages import END, RECOVERED, START, CameraEvent, Event, FireEvent, FrameResult
from edge.run_status import Delivered, Link, RunStatus
from edge.sinks import SHUTDOWN_GRACE_S, Sink
from edge.sinks.evidence import Evidence, for_training, write_frame, write_mask
from edge.sinks.retention import Retention, remove_abandoned_scratch
from edge.sinks.video import MEMORY_DIR, PRIVATE_FILE, PRIVATE_FOLDER, SCRATCH_PREFIX, VideoWriter
from edge.threads import Worker

log = logging.getLogger(__name__)

MAX_WIDTH_PX = 640  # wider frames are scaled down: five seconds of 640 px take a few megabytes
MAX_BUFFER_BYTES = 24 << 20
MAX_CLIP_BYTES = 48 << 20  # of JPEGs; a clip that reaches it ends early
LATE_S = 2.0  # a result that is due may be this late before a clip ends without it
MAX_WAITING_BYTES = 96 << 20  # for a slow disk; files above it are lost
MIN_FPS, MAX_FPS = 0.5, 60.0
PRUNE_INTERVAL_S = 3600.0  # without a fire
PRUNE_REST = 20.0  # times as long as pruning took until the next: listing 100,000 files takes seconds on a Pi
PRUNING = "pruning"
KINDS = {".jpg": "images", ".png": "masks", ".mp4": "clips", ".json": "records"}


@dataclass(frozen=True)
class BufferedFrame:
    t_s: float
    jpeg: bytes


@dataclass
class Clip:
    """A clip that is being recorded."""

    id: str
    until_s: float
    frames: list[BufferedFrame]
    size_bytes: int


@dataclass(frozen=True)
class FileJob:
    """A file to be written."""

    name: str
    size_bytes: int  # of memory that it takes until then
    write: Callable[[Path], object]
    event: Event | None = None  # whose picture it is
    made_s: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str:
        return KINDS[Path(self.name).suffix]


class Clips(Sink):
    """Writes ID.mp4, ID.json (the last event), and ID-KIND.jpg and ID-KIND-overlay.jpg for each kind of event.

    For training it writes a dozen frames and masks, ID-frame-*.jpg and ID-frame-*-mask.png; see `edge.sinks.evidence`.
    Of a problem of the camera it writes ID-problem.jpg and ID-recovered.jpg.

    Args:
        section: folder, length of clips, and limits of the folder; the oldest files are deleted first.
        now: wall clock in seconds, as in the files' modification times.
        grace_s: how long `close` waits for files to be written.
        prune_interval_s: how often old files are deleted without a fire.
    """

    def __init__(
        self,
        section: ClipsSection,
        *,
        now: Callable[[], float] = time.time,
        grace_s: float = SHUTDOWN_GRACE_S,
        prune_interval_s: float = PRUNE_INTERVAL_S,
    ) -> None:
        self._section, self._folder = section, Path(section.folder)
        self._grace_s, self._prune_interval_s = grace_s, prune_interval_s
        self._retention = Retention(
            self._folder, section.max_mb * 1e6, section.max_days * 86400, section.feedback_mb * 1e6, now=now
        )
        self._evidence = Evidence(self._keep_for_training) if section.feedback_mb else None
        self._buffer: deque[BufferedFrame] = deque()
        self._buffer_bytes, self._t_s = 0, 0.0  # the time is that of the last result
        self._clips: list[Clip] = []
        # A thread writes the files: a slow card must not delay the alarm.
        self._jobs: queue.SimpleQueue[FileJob | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_files = self._waiting_bytes = self._lost_files = 0
        self._problems: set[str] = set()  # what cannot be written now
        self._reason = ""  # of the last of them
        self._temporary: Path | None = None  # that is being written
        self._last_written: Delivered | None = None
        self._writer = Worker("clips", self._write_all)
        self._writer.start()

    @property
    def lost_files(self) -> int:
        return self._lost_files

    def links(self) -> Sequence[Link]:
        return (Link("clips", self._reason, self._last_written),)

    def on_result(self, result: FrameResult) -> None:
        if self._evidence:
            self._evidence.on_result(result)
        self._t_s = result.t_s
        frame = BufferedFrame(result.t_s, encode_jpeg(shrink(result.rgb, MAX_WIDTH_PX)))
        self._buffer.append(frame)
        self._buffer_bytes += len(frame.jpeg)
        while self._buffer and (
            not 0 <= result.t_s - self._buffer[0].t_s <= self._section.before_s or self._buffer_bytes > MAX_BUFFER_BYTES
        ):
            self._buffer_bytes -= len(self._buffer.popleft().jpeg)
        for clip in list(self._clips):
            if result.t_s <= clip.until_s:
                clip.frames.append(frame)
                clip.size_bytes += len(frame.jpeg)
            if result.t_s >= clip.until_s:
                self._finish(clip)
            elif clip.size_bytes > MAX_CLIP_BYTES:
                log.info("the clip of %s ends early: it has reached %d MB of frames", clip.id, MAX_CLIP_BYTES >> 20)
                self._finish(clip)

    def on_event(self, event: FireEvent) -> None:
        if event.kind == START:
            until_s = event.t_s + self._section.after_s
            self._clips.append(Clip(event.id, until_s, list(self._buffer), self._buffer_bytes))
        name, size_bytes = f"{event.id}-{event.kind}", event.rgb.nbytes
        self._submit(f"{name}.jpg", size_bytes, lambda path: write_jpeg(path, event.rgb), event)
        self._submit(f"{name}-overlay.jpg", size_bytes, lambda path: write_jpeg(path, overlay(event.rgb, event.mask)))
        if event.kind == END:
            self._submit_record(event)
        if self._evidence:
            self._evidence.on_event(event)

    def on_camera_event(self, event: CameraEvent) -> None:
        self._submit(f"{event.id}-{event.kind}.jpg", event.rgb.nbytes, lambda path: write_jpeg(path, event.rgb))
        if event.kind == RECOVERED:
            self._submit_record(event)

    def on_status(self, status: RunStatus) -> None:
        for clip in list(self._clips):
            if self._t_s + status.last_result_age_s > clip.until_s + LATE_S:  # the camera is gone
                self._finish(clip)

    def close(self) -> None:
        for clip in list(self._clips):
            self._finish(clip)
        self._jobs.put(None)
        self._writer.join(self._grace_s)
        with self._lock:
            if self._waiting_files:
                files, reason = counted(self._waiting_files, "file"), self._reason or "the disk is slow"
                log.error("%s of fires not written when the run ended (%s)", files, reason)
                self._lost_files += self._waiting_files
                if self._temporary:  # nothing else deletes it once the process ends
                    with suppress(OSError):
                        self._temporary.unlink(missing_ok=True)

    def _submit_record(self, event: Event) -> None:
        record = json.dumps(event.as_json(), indent=2, allow_nan=False) + "\n"
        self._submit(f"{event.id}.json", len(record), lambda path: path.write_text(record))

    def _keep_for_training(self, name: str, rgb: Frame, mask: Mask) -> None:
        small = for_training(rgb)
        self._submit(f"{name}.jpg", small.nbytes, lambda path: write_frame(path, small))
        self._submit(f"{name}{MASK_SUFFIX}", mask.nbytes, lambda path: write_mask(path, mask))

    def _finish(self, clip: Clip) -> None:
        self._clips.remove(clip)
        if clip.frames:
            self._submit(f"{clip.id}.mp4", clip.size_bytes, lambda path: write_clip(path, clip.frames))

    def _submit(self, name: str, size_bytes: int, write: Callable[[Path], object], event: Event | None = None) -> None:
        job = FileJob(name, size_bytes, write, event)
        with self._lock:
            is_full = self._waiting_bytes + size_bytes > MAX_WAITING_BYTES
            if not is_full:
                self._waiting_files += 1
                self._waiting_bytes += size_bytes
        if size_bytes > MAX_WAITING_BYTES:
            self._lose(job, f"frames of {size_bytes >> 20} MB are too large: lower the camera's resolution")
        elif is_full:
            self._lose(job, f"the disk is too slow: {MAX_WAITING_BYTES >> 20} MB wait to be written")
        else:
            self._jobs.put(job)

    def _lose(self, job: FileJob, reason: str) -> None:
        with self._lock:
            self._lost_files += 1
            is_new = job.kind not in self._problems
            self._problems.add(job.kind)
            self._reason = reason
        if is_new:
            log.error("%s of fires are lost (%s); the alarm is not affected", job.kind, reason)

    def _write_all(self) -> None:
        remove_abandoned_scratch()
        due_s = 0.0
        while True:
            wait_s = min(due_s - time.monotonic(), self._prune_interval_s)
            if wait_s <= 0:
                due_s, wait_s = self._prune(), self._prune_interval_s
            try:
                job = self._jobs.get(timeout=wait_s)
            except queue.Empty:
                continue
            if job is None:
                return
            self._write(job)
            with self._lock:
                self._waiting_files -= 1
                self._waiting_bytes -= job.size_bytes

    def _write(self, job: FileJob) -> None:
        try:
            self._folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
            with replacing(self._folder / job.name) as temporary:
                self._temporary = temporary
                temporary.chmod(PRIVATE_FILE)
                job.write(temporary)
        except Exception as error:  # any kind: the next file may succeed
            self._lose(job, reason_of(error))
            return
        if job.event:
            self._last_written = Delivered(job.event.id, job.event.number, 1000 * (time.monotonic() - job.made_s))
        with self._lock:
            is_over = job.kind in self._problems
            self._problems.discard(job.kind)
            self._reason = ""
        if is_over:
            log.info("%s of fires are written again", job.kind)

    def _prune(self) -> float:
        """Delete old files; return when to do so again at the earliest."""
        started_s = time.monotonic()
        try:
            self._retention.apply()
            self._problems.discard(PRUNING)
        except OSError as error:
            if PRUNING not in self._problems:
                log.error("%s could not be pruned (%s)", self._folder, error.strerror)
            self._problems.add(PRUNING)
        return time.monotonic() + PRUNE_REST * (time.monotonic() - started_s)


def write_jpeg(path: Path, rgb: Frame) -> None:
    path.write_bytes(encode_jpeg(rgb))


def write_clip(path: Path, frames: Sequence[BufferedFrame]) -> None:
    """Encode a clip in memory and copy it to `path`; where memory is short, encode it there. Raises `OSError`."""
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=MEMORY_DIR) as scratch:
            encoded = Path(scratch) / "clip.mp4"
            encode_clip(encoded, frames)
            shutil.copyfile(encoded, path)
    except OSError:
        encode_clip(path, frames)


def encode_clip(path: Path, frames: Sequence[BufferedFrame]) -> None:
    span_s = frames[-1].t_s - frames[0].t_s
    fps = min(max((len(frames) - 1) / span_s, MIN_FPS), MAX_FPS) if span_s > 0 else 1.0
    video = VideoWriter(path, fps)
    try:
        for frame in frames:
            video.write(cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR))
    finally:
        video.close()
