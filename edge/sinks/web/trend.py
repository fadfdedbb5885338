"""Fire areas and possible fires over a day and a week: two ring buffers of fixed size in a file, written every minute.

A ring has a record for each period; a new one replaces the oldest. Each record has a checksum: a power cut while it is
written costs at most that record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import UserError, counted, reason_of
from edge.files import read_limited, write_private
from edge.messages import FrameResult
from edge.threads import Worker

log = logging.getLogger(__name__)

RINGS = {"day": (60, 1440), "week": (600, 1008)}
"""Seconds of a period, and number of periods."""
MAX_ZONES = 16  # more zones are not plotted
FULL_AREA = 65_534
HEADER_BYTES = 12_288  # the names of all zones as JSON
RECORD = np.dtype([("period", "<u4"), ("tracks", "<u2"), ("areas", "<u2", (MAX_ZONES,)), ("crc", "<u4")])
"""Number of the period since 1970 (0: empty), most possible fires in a frame, areas (0: no result, else 1 + area)."""
SIZE_BYTES = HEADER_BYTES + RECORD.itemsize * sum(count for _, count in RINGS.values())
FORMAT = 1
MAX_CATCH_UP_S = 3600.0  # after a longer pause, or a clock that was set, the whole file is written
CLOSE_S = 0.5

Ring = npt.NDArray[Any]


class Trend:
    """Collects results in the loop's thread, and keeps the points of the plot. Never waits for the disk.

    A damaged file or record is logged and counts as empty; a file that cannot be written is logged once, and the plot
    is then lost with a restart.

    Args:
        path: of the file, private; its folder is created.
        now: wall clock in seconds: periods are plotted by it.

    Example:
        >>> trend = Trend(Path("trend.bin"))
        >>> trend.points("day")
        {'step_s': 60, 'points': []}
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now
        self._lock = threading.Lock()
        self._rings: dict[str, Ring] = {span: np.zeros(count, RECORD) for span, (_, count) in RINGS.items()}
        self._zones: list[str] = []  # by column
        self._largest: dict[str, float] = {}
        self._tracks = 0
        self._minute = 0
        self._due, self._closing = threading.Event(), False
        self._is_loaded = False
        self._is_rewritten = True  # the next time: the file is missing, or its columns have changed
        self._written_s = 0.0
        self._problem = ""
        self.failures = 0  # how often writing began to fail
        self._worker = Worker("trend", self._run)
        self._worker.start()

    def on_result(self, result: FrameResult) -> None:
        """Note the areas and the possible fires of a result."""
        for zone, share in result.shares.items():
            self._largest[zone] = max(share, self._largest.get(zone, 0.0))
        self._tracks = max(self._tracks, sum(not track.confirmed for track in result.tracks))

    def poll(self) -> None:
        """Add the noted results to the rings, about once a second; start a write of the file once a minute."""
        now_s = self._now()
        with self._lock:
            if self._largest:
                self._add(now_s)
        self._largest, self._tracks = {}, 0
        if int(now_s // 60) != self._minute:
            self._minute = int(now_s // 60)
            self._due.set()

    def points(self, span: str) -> dict[str, Any]:
        """Return the seconds of a period and a point for each, oldest first.

        A point is the Unix time in seconds, the largest area fraction of each zone, and most possible fires in a frame.
        """
        step_s, count = RINGS[span]
        newest = int(self._now() // step_s)
        with self._lock:
            ring, zones = self._rings[span].copy(), list(self._zones)
        recent = np.sort(ring[(ring["period"] > newest - count) & (ring["period"] <= newest)], order="period")
        points = [
            [
                int(period) * step_s,
                {zone: round((int(area) - 1) / FULL_AREA, 4) for zone, area in zip(zones, areas, strict=False) if area},
                int(tracks),
            ]
            for period, tracks, areas, _ in recent
        ]
        return {"step_s": step_s, "points": points}

    def close(self) -> None:
        """Write what has changed, within half a second."""
        self.poll()
        self._closing = True
        self._due.set()
        self._worker.join(CLOSE_S)

    def _add(self, now_s: float) -> None:
        for span, (step_s, count) in RINGS.items():
            period = int(now_s // step_s)
            ring, slot = self._rings[span], period % count
            if ring[slot]["period"] != period:
                ring[slot] = np.zeros((), RECORD)
                ring[slot]["period"] = period
            for zone, share in self._largest.items():
                if (column := self._column(zone)) is not None:
                    area = 1 + round(FULL_AREA * min(max(share, 0.0), 1.0))
                    ring[slot]["areas"][column] = max(area, ring[slot]["areas"][column])
            ring[slot]["tracks"] = max(ring[slot]["tracks"], min(self._tracks, 65_535))
            ring[slot]["crc"] = checksum(ring[slot])

    def _column(self, zone: str) -> int | None:
        """Return the column of a zone; a new one takes that of a removed zone if there are too many."""
        if zone not in self._zones:
            if len(self._zones) < MAX_ZONES:
                self._zones.append(zone)
            elif (removed := next((old for old in self._zones if old not in self._largest), None)) is not None:
                column = self._zones.index(removed)
                self._zones[column] = zone
                for ring in self._rings.values():
                    ring["areas"][:, column] = 0
                    ring["crc"] = [checksum(record) for record in ring]
            else:
                return None
            self._is_rewritten = True
        return self._zones.index(zone)

    # The writer thread.

    def _run(self) -> None:
        if not self._is_loaded:  # a thread that failed is started again
            self._load()
            self._is_loaded = True
        while True:
            self._due.wait()
            self._due.clear()
            is_last = self._closing  # before writing: what was added until now is written
            self._write()
            if is_last:
                return

    def _load(self) -> None:
        """Read the file of an earlier run."""
        try:
            if not self._path.exists():
                return
            zones, rings, damaged = parse(read_limited(self._path, SIZE_BYTES, "delete it"))
        except (OSError, UserError, ValueError, RecursionError) as error:
            reason = reason_of(error) if isinstance(error, OSError | UserError) else "damaged"
            log.error("%s is ignored (%s): the plot of the day and the week starts empty", self._path, reason)
            return
        if damaged:
            log.warning("%s: %s damaged and ignored", self._path, counted(damaged, "record"))
        with self._lock:
            self._zones, self._rings = zones, rings  # the first second of this run is dropped
            self._is_rewritten = damaged > 0

    def _write(self) -> None:
        now_s = self._now()
        with self._lock:
            if not self._zones:  # no result yet
                return
            is_rewritten = (
                self._is_rewritten or bool(self._problem) or not 0 <= now_s - self._written_s <= MAX_CATCH_UP_S
            )
            self._is_rewritten = False
            header = json.dumps({"format": FORMAT, "zones": self._zones}, ensure_ascii=False).encode()
            rings = {span: ring.copy() for span, ring in self._rings.items()}
        try:
            if is_rewritten or self._path.stat().st_size != SIZE_BYTES:
                write_private(self._path, header.ljust(HEADER_BYTES) + b"".join(map(bytes, rings.values())))
            else:
                self._write_newest(rings, now_s)
        except (OSError, UserError) as error:
            if not self._problem:
                self.failures += 1
                log.error("the plot of the day and the week will be lost with a restart: %s", reason_of(error))
            self._problem = reason_of(error)
            return
        self._written_s = now_s
        if self._problem:
            log.info("%s is written again", self._path)
        self._problem = ""

    def _write_newest(self, rings: dict[str, Ring], now_s: float) -> None:
        """Write the records that have changed since the last time: a hundred bytes after a minute."""
        offset = HEADER_BYTES
        file = os.open(self._path, os.O_WRONLY)
        try:
            for span, (step_s, count) in RINGS.items():
                for period in range(int(self._written_s // step_s), int(now_s // step_s) + 1):
                    slot = period % count
                    os.pwrite(file, rings[span][slot].tobytes(), offset + slot * RECORD.itemsize)
                offset += count * RECORD.itemsize
        finally:
            os.close(file)


def parse(data: bytes) -> tuple[list[str], dict[str, Ring], int]:
    """Return the zones, the rings and the number of damaged records, which are left empty.

    Raises ValueError if the data is not a whole file of this format.
    """
    if len(data) != SIZE_BYTES:
        raise ValueError("cut short")
    header = json.loads(data[:HEADER_BYTES])
    zones = header.get("zones") if isinstance(header, dict) and header.get("format") == FORMAT else None
    if not isinstance(zones, list) or len(zones) > MAX_ZONES or not all(isinstance(zone, str) for zone in zones):
        raise ValueError("a damaged header")
    rings, damaged, offset = {}, 0, HEADER_BYTES
    for span, (_, count) in RINGS.items():
        ring = np.frombuffer(data, RECORD, count, offset).copy()
        offset += ring.nbytes
        for slot, record in enumerate(ring):
            if record["period"] and (record["crc"] != checksum(record) or record["period"] % count != slot):
                ring[slot] = np.zeros((), RECORD)
                damaged += 1
        rings[span] = ring
    return zones, rings, damaged


def checksum(record: Any) -> int:
    """Return the CRC-32 of a record without its own."""
    return zlib.crc32(record.tobytes()[:-4])
