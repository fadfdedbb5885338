"""Fires and camera problems in the folder of clips, including those of earlier runs. Only reads; may wait for the disk.

An event is known by its files, whose names begin with its id. Only regular files with such names are read.
"""

from __future__ import annotations

import heapq
import json
import logging
import math
import os
import re
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.errors import UserError, one_line, reason_of
from edge.event_files import EVENT_ID, VERDICT_SUFFIX
from edge.files import read_limited
from edge.image_header import read_header
from edge.images import MAX_PIXELS, encode_jpeg, shrink, to_rgb
from edge.sinks.video import ascii_link

log = logging.getLogger(__name__)

EVENT_FILE = re.compile(rf"({EVENT_ID.pattern})((?:-[\w-]+)?\.(?:jpg|png|json|mp4|webm))")
PICTURES = ("peak", "still", "start", "end", "problem", "recovered")
"""Kinds of pictures, the most informative first."""
CLIPS = {".mp4": "video/mp4", ".webm": "video/webm"}
MAX_FILES = 50_000  # of the newest events; their names take ten megabytes
MAX_LISTED = 200  # events of a day
MAX_RECORD_BYTES = 1 << 16
MAX_PICTURE_BYTES = 32 << 20
MAX_ZIP_BYTES = 256 << 20
CHUNK_BYTES = 1 << 18
THUMBNAIL_WIDTH_PX, CLIP_WIDTH_PX = 320, 640
MTIME_STEP_S = 1.0  # files of one step may leave the folder's modification time as it is

Suffixes = set[str]
"""What follows the id in the names of an event's files, such as `-start.jpg`."""


class Archive:
    """The events in a folder by day. Its methods wait for the disk and may run in several threads.

    The folder is listed again only after its modification time has changed.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._mtime_ns, self._changed_s, self._scanned_s = -1, 0.0, 0.0
        self._days: dict[str, dict[str, Suffixes]] = {}
        self._entries: dict[str, list[dict[str, Any]]] = {}  # of the days asked for since the folder changed
        self._problem = ""

    def days(self) -> list[dict[str, Any]]:
        """Return the days with events, newest first, with the numbers of fires and camera problems."""
        with self._lock:
            self._scan()
            counts = []
            for day, events in sorted(self._days.items(), reverse=True):
                problems = sum(_is_camera(id_, suffixes) for id_, suffixes in events.items())
                counts.append({"day": day, "fires": len(events) - problems, "camera_problems": problems})
            return counts

    def events(self, day: str) -> list[dict[str, Any]]:
        """Return the events of a local day such as 2026-11-26, newest first, at most `MAX_LISTED`."""
        with self._lock:
            self._scan()
            if day not in self._days:
                return []
            if day not in self._entries:
                newest = sorted(self._days[day].items(), reverse=True)[:MAX_LISTED]
                self._entries[day] = [self._entry(id_, suffixes) for id_, suffixes in newest]
            return self._entries[day]

    def picture(self, id_: str, kind: str, *, overlay: bool) -> Path | None:
        """Return the file of a picture, with the fire tinted if there is one; None if there is none."""
        if kind not in PICTURES:
            return None
        tinted = self._file(id_, f"-{kind}-overlay.jpg") if overlay else None
        return tinted or self._file(id_, f"-{kind}.jpg")

    def thumbnail(self, id_: str, kind: str) -> bytes | None:
        """Return a picture as a JPEG of at most `THUMBNAIL_WIDTH_PX`; None if there is none."""
        path = self.picture(id_, kind, overlay=True)
        if path is None:
            return None
        try:
            data = read_limited(path, MAX_PICTURE_BYTES, "")
        except UserError:
            return None
        header = read_header(data)
        if header is None or header.width * header.height > MAX_PIXELS:
            return None
        # A JPEG is decoded at a fraction of its size in less time and memory.
        flags = next((flag for flag, scale in _REDUCED if header.width >= scale * THUMBNAIL_WIDTH_PX), cv2.IMREAD_COLOR)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return None if image is None else encode_jpeg(shrink(to_rgb(image), THUMBNAIL_WIDTH_PX), quality=75)

    def clip(self, id_: str) -> Path | None:
        """Return the file of a clip; None if there is none."""
        return next((path for suffix in CLIPS if (path := self._file(id_, suffix))), None)

    def zipped(self, id_: str, model: Mapping[str, Any]) -> Iterator[bytes] | None:
        """Return the chunks of a ZIP archive with all files of an event, made while they are read; None if it has none.

        Args:
            model: goes into `model.json`; its hashes are left out if another model made the event.
        """
        with self._lock:
            self._scan()
            suffixes = next((events[id_] for events in self._days.values() if id_ in events), set())
        files = [path for suffix in sorted(suffixes) if (path := self._file(id_, suffix))]
        if not files:
            return None
        made_by = self._json(f"{id_}.json").get("model_sha256") or model.get("model_sha256")
        if made_by != model.get("model_sha256"):
            model = {"model_sha256": made_by, "flatbuffer_sha256": None}
        return _zip(files, f"{json.dumps({'id': id_, **model}, indent=2)}\n")

    def _scan(self) -> None:
        """List the folder if it has changed."""
        try:
            mtime_ns, now_s = self._folder.stat().st_mtime_ns, self._clock()
            if mtime_ns != self._mtime_ns:
                self._mtime_ns, self._changed_s = mtime_ns, now_s
            elif self._scanned_s - self._changed_s > MTIME_STEP_S:
                return
            with os.scandir(self._folder) as entries:
                found = heapq.nlargest(MAX_FILES, (entry.name for entry in entries if EVENT_FILE.fullmatch(entry.name)))
        except OSError as error:
            if self._problem != reason_of(error) and not isinstance(error, FileNotFoundError):  # no fire so far
                log.error("events of earlier runs are not shown: %s (%s)", self._folder, reason_of(error))
            self._problem, self._days, self._entries, self._mtime_ns = reason_of(error), {}, {}, -1
            return
        self._problem, self._days, self._entries, self._scanned_s = "", {}, {}, now_s
        suffixes: dict[str, Suffixes] = {}
        for name in found:
            match = EVENT_FILE.fullmatch(name)
            assert match
            suffixes.setdefault(match[1], set()).add(match[2])
        for id_, of_event in suffixes.items():
            with suppress(ValueError):  # such as a 32nd of a month
                self._days.setdefault(f"{_began(id_).astimezone():%Y-%m-%d}", {})[id_] = of_event

    def _entry(self, id_: str, suffixes: Suffixes) -> dict[str, Any]:
        record = self._json(f"{id_}.json") if ".json" in suffixes else {}
        judged = self._json(f"{id_}{VERDICT_SUFFIX}") if VERDICT_SUFFIX in suffixes else {}

        # A damaged file must not cost the list: what JSON or UTF-8 cannot hold is left out.
        def text(values: Mapping[str, Any], key: str, default: str = "") -> str:
            value = values.get(key)
            return one_line(value) if isinstance(value, str) else default

        def number(key: str) -> float | None:
            value = record.get(key)
            return value if isinstance(value, int | float) and math.isfinite(value) else None

        is_camera, slug = _is_camera(id_, suffixes), id_.partition("-")[2].rpartition("-")[0]
        return {
            "id": id_,
            "type": "camera" if is_camera else "fire",
            "time": _began(id_).isoformat(),
            "zone": text(record, "zone", slug),
            "problem": text(record, "problem", slug.removeprefix("camera-").replace("-", " ")) if is_camera else "",
            "duration_s": number("duration_s"),
            "peak_share": number("peak_share"),
            "silence": text(record, "silence") or None,
            "drill": record.get("drill") is True,
            "pictures": [kind for kind in PICTURES if f"-{kind}.jpg" in suffixes],
            "clip": not suffixes.isdisjoint(CLIPS),
            "verdict": text(judged, "verdict"),
        }

    def _file(self, id_: str, suffix: str) -> Path | None:
        if not EVENT_FILE.fullmatch(f"{id_}{suffix}"):
            return None
        path = self._folder / f"{id_}{suffix}"
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                return path
        return None

    def _json(self, name: str) -> dict[str, Any]:
        """Return the object in a file; empty if it is damaged or gone."""
        with suppress(UserError, ValueError, RecursionError):
            value = json.loads(read_limited(self._folder / name, MAX_RECORD_BYTES, ""))
            if isinstance(value, dict):
                return value
        return {}


_REDUCED = ((cv2.IMREAD_REDUCED_COLOR_8, 8), (cv2.IMREAD_REDUCED_COLOR_4, 4), (cv2.IMREAD_REDUCED_COLOR_2, 2))


def clip_frames(path: Path) -> Iterator[tuple[float, bytes]]:
    """Yield the frames of a clip as JPEGs, each with the seconds that it is shown."""
    with ascii_link(path) as name:
        capture = cv2.VideoCapture(name)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        shown_s = 1 / fps if 0.1 <= fps <= 120 else 0.1
        while True:
            success, bgr = capture.read()
            if not success:
                return
            yield shown_s, encode_jpeg(shrink(to_rgb(bgr), CLIP_WIDTH_PX), quality=80)
    finally:
        capture.release()


class _Chunk:
    """A file for `zipfile` that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: the data is taken, not written."""

    def close(self) -> None:
        """Do nothing: `zipfile` needs the method."""

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def _zip(files: list[Path], model: str) -> Iterator[bytes]:
    """Yield a ZIP archive in chunks; files that are gone or above `MAX_ZIP_BYTES` in all are left out."""
    chunk, total_bytes = _Chunk(), 0
    with zipfile.ZipFile(chunk, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("model.json", model)
        for path in files:
            try:
                source = path.open("rb")
            except OSError:
                continue
            with source:
                size_bytes = os.fstat(source.fileno()).st_size
                if total_bytes + size_bytes > MAX_ZIP_BYTES:
                    continue
                total_bytes += size_bytes
                with archive.open(path.name, "w") as target:
                    while data := source.read(CHUNK_BYTES):
                        target.write(data)
                        yield chunk.take()
    yield chunk.take()


def _began(id_: str) -> datetime:
    """Return when an event began. Raises ValueError if its id holds no time."""
    return datetime.strptime(id_.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _is_camera(id_: str, suffixes: Suffixes) -> bool:
    """Return whether an event is a problem of the camera."""
    if "-start.jpg" in suffixes:
        return False
    return not suffixes.isdisjoint({"-problem.jpg", "-recovered.jpg"}) or id_.partition("-")[2].startswith("camera-")
